package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// imagesJob is whole images, each of its own config and layers, pushed as docker does it: each blob is asked for,
// uploaded by one PATCH in chunks and closed by a PUT; then the manifest is put under a tag.
type imagesJob struct {
	Address     string  `json:"address"`
	Repository  string  `json:"repository"`
	Layers      int     `json:"layers"`
	LayerSize   int     `json:"layer_size"`
	Connections int     `json:"connections"`
	Warmup      float64 `json:"warmup"`
	Seconds     float64 `json:"seconds"`
	Seed        uint64  `json:"seed"`
	Processors  int     `json:"processors"`
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	configSize   = 1500
)

func images(job imagesJob) (*outcome, error) {
	useProcessors(job.Processors)
	window := newWindow(job.Warmup, job.Seconds)
	var next atomic.Int64
	tallies := crew(job.Connections, func(number int, tally *tally) {
		worker := &imager{
			job:        &job,
			connection: newConnection(job.Address, 16*1024),
			chance:     rand.New(rand.NewPCG(job.Seed, uint64(number))),
			layer:      make([]byte, job.LayerSize),
			config:     make([]byte, configSize),
		}
		worker.fill(worker.layer)
		defer worker.connection.close()
		for time.Now().Before(window.stop) && tally.failed < mostFailures {
			begin := time.Now()
			size, err := worker.image(int(next.Add(1)))
			if err != nil {
				worker.connection.close()
				tally.fail(err)
				continue
			}
			end := time.Now()
			tally.answered(201, size, end.Sub(begin), window.counts(end))
		}
	})
	seconds, used := window.measured()
	return total(tallies, seconds, used), nil
}

type imager struct {
	job           *imagesJob
	connection    *connection
	chance        *rand.Rand
	layer, config []byte
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// image pushes one image and tells how many bytes it has.
func (i *imager) image(number int) (int64, error) {
	made := manifest{SchemaVersion: 2, MediaType: manifestType}
	size := int64(0)
	for range i.job.Layers {
		digest, err := i.blob(i.layer)
		if err != nil {
			return 0, err
		}
		made.Layers = append(made.Layers, descriptor{layerType, digest, len(i.layer)})
		size += int64(len(i.layer))
	}
	digest, err := i.blob(i.config)
	if err != nil {
		return 0, err
	}
	made.Config = descriptor{configType, digest, len(i.config)}
	body, err := json.Marshal(made)
	if err != nil {
		return 0, err
	}
	path := fmt.Sprintf("/v2/%s/manifests/i%d-%07d", i.job.Repository, i.job.Seed, number)
	head := requestHead(i.job.Address, "PUT", path,
		field("Content-Type", manifestType), field("Content-Length", len(body))) + "\r\n"
	answer, _, err := i.connection.ask("PUT", append([]byte(head), body...))
	if err == nil && answer.status != 201 {
		err = fmt.Errorf("status %d for the manifest", answer.status)
	}
	return size + int64(len(i.config)+len(body)), err
}

// blob makes a content unlike all before it, and pushes it.
func (i *imager) blob(content []byte) (string, error) {
	for at := 0; at < 32; at += 8 {
		binary.LittleEndian.PutUint64(content[at:], i.chance.Uint64())
	}
	digest := digestOf(content)
	known := requestHead(i.job.Address, "HEAD", "/v2/"+i.job.Repository+"/blobs/"+digest) + "\r\n"
	answer, _, err := i.connection.ask("HEAD", []byte(known))
	if err != nil {
		return "", err
	}
	if answer.status != 404 {
		return "", fmt.Errorf("status %d for a blob that is not there", answer.status)
	}
	location, err := startUpload(i.connection, i.job.Repository)
	if err != nil {
		return "", err
	}
	head := requestHead(i.job.Address, "PATCH", location,
		field("Content-Type", "application/octet-stream"), field("Transfer-Encoding", "chunked")) + "\r\n"
	request := append([]byte(head), chunk(content)...)
	request = append(request, "0\r\n\r\n"...)
	if err = i.connection.send(request); err != nil {
		return "", err
	}
	if location, err = accepted(i.connection, "PATCH"); err != nil {
		return "", err
	}
	return digest, closeUpload(i.connection, location, digest)
}

func (i *imager) fill(content []byte) {
	for at := 0; at+8 <= len(content); at += 8 {
		binary.LittleEndian.PutUint64(content[at:], i.chance.Uint64())
	}
}
