package main

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
)

const (
	pieceSize = 1 << 20
	tailSize  = 64
	// What clients written in Go copy at a time, so the size of the chunks that they send.
	chunkSize = 32 * 1024
)

// blobs are contents of one size that differ in their last bytes only, so that what they share is hashed once.
type blobs struct {
	size   int64
	piece  []byte
	chunks []byte // the piece, framed as chunks
	shared []byte // the state of the hash behind what they share
}

func newBlobs(seed uint64, size int64) (*blobs, error) {
	if size < tailSize {
		return nil, fmt.Errorf("a blob has at least %d bytes", tailSize)
	}
	made := &blobs{size: size, piece: make([]byte, pieceSize)}
	chance := rand.New(rand.NewPCG(seed, 0))
	for at := 0; at < pieceSize; at += 8 {
		binary.LittleEndian.PutUint64(made.piece[at:], chance.Uint64())
	}
	for at := 0; at < pieceSize; at += chunkSize {
		made.chunks = append(made.chunks, chunk(made.piece[at:at+chunkSize])...)
	}
	hasher := sha256.New()
	err := made.pieces(made.piece, func(piece []byte) error {
		_, err := hasher.Write(piece)
		return err
	})
	if err != nil {
		return nil, err
	}
	made.shared, err = hasher.(encoding.BinaryMarshaler).MarshalBinary()
	return made, err
}

// pieces passes on what the blobs share, a piece at a time.
func (b *blobs) pieces(piece []byte, to func([]byte) error) error {
	for left := b.size - tailSize; left > 0; left -= int64(len(piece)) {
		if err := to(piece[:min(left, int64(len(piece)))]); err != nil {
			return err
		}
	}
	return nil
}

// tail is the end of one blob.
func (b *blobs) tail(number int, salt uint64) []byte {
	tail := make([]byte, tailSize)
	binary.LittleEndian.PutUint64(tail, uint64(number))
	binary.LittleEndian.PutUint64(tail[8:], salt)
	return tail
}

func (b *blobs) digest(tail []byte) (string, error) {
	hasher := sha256.New()
	if err := hasher.(encoding.BinaryUnmarshaler).UnmarshalBinary(b.shared); err != nil {
		return "", err
	}
	hasher.Write(tail)
	return named(hasher), nil
}

func named(hasher hash.Hash) string {
	return "sha256:" + hex.EncodeToString(hasher.Sum(nil))
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func chunk(content []byte) []byte {
	framed := fmt.Appendf(nil, "%x\r\n", len(content))
	framed = append(framed, content...)
	return append(framed, '\r', '\n')
}
