package main

import (
	"fmt"
	"time"
)

// pushJob is Parallel blobs at once, each pushed in Way:
//
//	patch  as docker does: one PATCH in chunks, of a length that nobody told, and an empty PUT
//	put    as containerd does: one PUT
type pushJob struct {
	Address    string `json:"address"`
	Repository string `json:"repository"`
	Way        string `json:"way"`
	Size       int64  `json:"size"`
	Parallel   int    `json:"parallel"`
	Seed       uint64 `json:"seed"` // another seed makes other blobs
	Processors int    `json:"processors"`
}

func push(job pushJob) (*outcome, error) {
	useProcessors(job.Processors)
	content, err := newBlobs(job.Seed, job.Size)
	if err != nil {
		return nil, err
	}
	begin, before := time.Now(), cpuSeconds()
	tallies := crew(job.Parallel, func(number int, tally *tally) {
		pusher := &pusher{&job, content, newConnection(job.Address, 16*1024)}
		defer pusher.connection.close()
		start := time.Now()
		if err := pusher.push(number); err != nil {
			tally.fail(err)
			return
		}
		tally.answered(201, job.Size, time.Since(start), true)
	})
	return total(tallies, time.Since(begin).Seconds(), cpuSeconds()-before), nil
}

type pusher struct {
	job        *pushJob
	content    *blobs
	connection *connection
}

func (p *pusher) push(number int) error {
	tail := p.content.tail(number, p.job.Seed)
	digest, err := p.content.digest(tail)
	if err != nil {
		return err
	}
	location, err := startUpload(p.connection, p.job.Repository)
	if err != nil {
		return err
	}
	switch p.job.Way {
	case "patch":
		if location, err = p.patch(location, tail); err != nil {
			return err
		}
		return closeUpload(p.connection, location, digest)
	case "put":
		return p.put(location, digest, tail)
	default:
		return fmt.Errorf("no such way: %s", p.job.Way)
	}
}

func (p *pusher) patch(location string, tail []byte) (string, error) {
	head := requestHead(p.job.Address, "PATCH", location,
		field("Content-Type", "application/octet-stream"), field("Transfer-Encoding", "chunked")) + "\r\n"
	if err := p.connection.send([]byte(head)); err != nil {
		return "", err
	}
	whole := (p.content.size - tailSize) / pieceSize
	for range whole {
		if err := p.connection.send(p.content.chunks); err != nil {
			return "", err
		}
	}
	if rest := (p.content.size - tailSize) % pieceSize; rest > 0 {
		if err := p.connection.send(chunk(p.content.piece[:rest])); err != nil {
			return "", err
		}
	}
	if err := p.connection.send(append(chunk(tail), "0\r\n\r\n"...)); err != nil {
		return "", err
	}
	return accepted(p.connection, "PATCH")
}

func (p *pusher) put(location, digest string, tail []byte) error {
	head := requestHead(p.job.Address, "PUT", withDigest(location, digest),
		field("Content-Type", "application/octet-stream"), field("Content-Length", p.content.size)) + "\r\n"
	if err := p.connection.send([]byte(head)); err != nil {
		return err
	}
	if err := p.content.pieces(p.content.piece, p.connection.send); err != nil {
		return err
	}
	if err := p.connection.send(tail); err != nil {
		return err
	}
	return created(p.connection, "PUT")
}

func startUpload(c *connection, repository string) (string, error) {
	request := requestHead(c.address, "POST", "/v2/"+repository+"/blobs/uploads/", field("Content-Length", 0)) + "\r\n"
	answer, _, err := c.ask("POST", []byte(request))
	if err != nil {
		return "", err
	}
	if answer.status != 202 {
		return "", fmt.Errorf("status %d for POST", answer.status)
	}
	return target(answer.location)
}

func closeUpload(c *connection, location, digest string) error {
	request := requestHead(c.address, "PUT", withDigest(location, digest), field("Content-Length", 0)) + "\r\n"
	answer, _, err := c.ask("PUT", []byte(request))
	if err == nil && answer.status != 201 {
		err = fmt.Errorf("status %d for the closing PUT", answer.status)
	}
	return err
}

// accepted reads the answer to a PATCH, and where to go on.
func accepted(c *connection, method string) (string, error) {
	answer, err := c.head()
	if err != nil {
		return "", err
	}
	if answer, _, err = c.finish(method, answer); err != nil {
		return "", err
	}
	if answer.status != 202 && answer.status != 204 {
		return "", fmt.Errorf("status %d for %s", answer.status, method)
	}
	return target(answer.location)
}

func created(c *connection, method string) error {
	answer, err := c.head()
	if err != nil {
		return err
	}
	if answer, _, err = c.finish(method, answer); err != nil {
		return err
	}
	if answer.status != 201 {
		return fmt.Errorf("status %d for %s", answer.status, method)
	}
	return nil
}
