package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
)

// template is a text with holes in it:
//
//	{n}       a number of seven digits
//	{digest}  the digest that has the number in a file of digests
//	{range}   a random range, as the Range field has it
type template struct {
	parts   []string // text and holes take turns; it begins and ends with a text
	holes   []string
	digests []byte
	span    int64
	size    int64
}

var hole = regexp.MustCompile(`\{(n|digest|range)\}`)

func parseTemplate(text string, digests []byte, span, size int64) template {
	parsed := template{digests: digests, span: span, size: size}
	end := 0
	for _, found := range hole.FindAllStringSubmatchIndex(text, -1) {
		parsed.parts = append(parsed.parts, text[end:found[0]])
		parsed.holes = append(parsed.holes, text[found[2]:found[3]])
		end = found[1]
	}
	parsed.parts = append(parsed.parts, text[end:])
	return parsed
}

// fill appends the text for a number.
func (t *template) fill(to []byte, number int, chance *rand.Rand) []byte {
	for index, hole := range t.holes {
		to = append(to, t.parts[index]...)
		switch hole {
		case "n":
			to = appendNumber(to, number)
		case "digest":
			to = append(to, "sha256:"...)
			to = hex.AppendEncode(to, t.digests[32*number:32*number+32])
		case "range":
			start := chance.Int64N(t.size - t.span)
			to = append(to, "bytes="...)
			to = strconv.AppendInt(to, start, 10)
			to = append(to, '-')
			to = strconv.AppendInt(to, start+t.span-1, 10)
		}
	}
	return append(to, t.parts[len(t.parts)-1]...)
}

func appendNumber(to []byte, number int) []byte {
	for power := 1_000_000; power > 0; power /= 10 {
		to = append(to, byte('0'+number/power%10))
	}
	return to
}

func readDigests(path string, count int) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	digests, err := os.ReadFile(path)
	if err == nil && len(digests) < 32*count {
		err = fmt.Errorf("%s: fewer than %d digests", path, count)
	}
	return digests, err
}
