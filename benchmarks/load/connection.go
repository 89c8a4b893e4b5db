package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

const patience = 300 * time.Second

// connection speaks as much HTTP/1.1 as registries need: one request after the other.
type connection struct {
	address string
	socket  net.Conn
	input   *bufio.Reader
	scratch []byte
}

// reply is the head of an answer. Length is -1 where the body comes in chunks, or ends with the connection.
type reply struct {
	status   int
	length   int64
	chunked  bool
	closes   bool
	location string
}

func newConnection(address string, buffer int) *connection {
	return &connection{address: address, input: bufio.NewReaderSize(nil, buffer), scratch: make([]byte, buffer)}
}

// open connects, unless it is connected.
func (c *connection) open() error {
	if c.socket != nil {
		return nil
	}
	socket, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return err
	}
	c.socket = socket
	c.input.Reset(socket)
	return socket.SetDeadline(time.Now().Add(patience))
}

func (c *connection) close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

// ask sends a whole request and reads the answer, whose body is counted and dropped.
func (c *connection) ask(method string, request []byte) (reply, int64, error) {
	answer, err := c.begin(request)
	if err != nil {
		return answer, 0, err
	}
	return c.finish(method, answer)
}

// begin sends a request and reads the head of the answer.
func (c *connection) begin(request []byte) (reply, error) {
	if err := c.send(request); err != nil {
		return reply{}, err
	}
	return c.head()
}

// send sends a part of a request.
func (c *connection) send(content []byte) error {
	if err := c.open(); err != nil {
		return err
	}
	_, err := c.socket.Write(content)
	return err
}

// finish reads what follows the head of an answer.
func (c *connection) finish(method string, answer reply) (reply, int64, error) {
	size, err := c.body(method, answer)
	if err != nil || answer.closes {
		c.close()
	}
	return answer, size, err
}

func (c *connection) body(method string, answer reply) (int64, error) {
	switch {
	case method == "HEAD" || answer.status == 204 || answer.status == 304:
		return 0, nil
	case answer.chunked:
		size, err := io.CopyBuffer(io.Discard, plain{httputil.NewChunkedReader(c.input)}, c.scratch)
		if err != nil {
			return size, err
		}
		// The reader of chunks leaves the empty line behind the last of them.
		_, err = c.input.Discard(2)
		return size, err
	case answer.length >= 0:
		return answer.length, c.drop(answer.length)
	default:
		return io.CopyBuffer(io.Discard, plain{c.input}, c.scratch)
	}
}

// plain hides that a reader could do its own copying.
type plain struct{ io.Reader }

// drop reads what is left of a body, past the buffer where there is more than fits into it.
func (c *connection) drop(length int64) error {
	buffered := min(int64(c.input.Buffered()), length)
	if _, err := c.input.Discard(int(buffered)); err != nil {
		return err
	}
	for length -= buffered; length > 0; {
		count, err := c.socket.Read(c.scratch[:min(length, int64(len(c.scratch)))])
		length -= int64(count)
		if err != nil && length > 0 {
			return err
		}
	}
	return nil
}

// head reads the head of an answer; of its fields only those that matter here.
func (c *connection) head() (reply, error) {
	answer := reply{length: -1}
	line, err := c.line()
	if err != nil {
		return answer, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return answer, fmt.Errorf("no HTTP: %q", line)
	}
	if answer.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return answer, err
	}
	answer.closes = line[7] == '0'
	for {
		if line, err = c.line(); err != nil || len(line) == 0 {
			return answer, err
		}
		if err = answer.field(line); err != nil {
			return answer, err
		}
	}
}

func (c *connection) line() ([]byte, error) {
	line, err := c.input.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (r *reply) field(line []byte) (err error) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return fmt.Errorf("no field: %q", line)
	}
	name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
	switch {
	case is(name, "content-length"):
		r.length, err = strconv.ParseInt(string(value), 10, 64)
	case is(name, "transfer-encoding"):
		r.chunked = is(value, "chunked")
	case is(name, "connection"):
		r.closes = is(value, "close")
	case is(name, "location"):
		r.location = string(value)
	}
	return err
}

func is(text []byte, word string) bool {
	return len(text) == len(word) && bytes.EqualFold(text, []byte(word))
}

// requestHead is the head of a request up to the empty line, which is not there yet.
func requestHead(address, method, path string, fields ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, address, strings.Join(fields, ""))
}

func field(name string, value any) string {
	return fmt.Sprintf("%s: %v\r\n", name, value)
}

// target is what a Location names, as a path of this registry.
func target(location string) (string, error) {
	if _, rest, found := strings.Cut(location, "://"); found {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			return "", fmt.Errorf("no path: %s", location)
		}
		location = rest[slash:]
	}
	if !strings.HasPrefix(location, "/") {
		return "", errors.New("an answer has no Location")
	}
	return location, nil
}

func withDigest(path, digest string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + "digest=" + digest
}
