// Load puts load on one registry and tells what came of it. It knows nothing of which registry that is.
//
//	load requests   many small requests, kept-alive or not, as fast as they are answered or at a steady rate
//	load push       large blobs, each by one PATCH or one PUT, some at a time
//	load pull       one large blob, by some readers at a time, as fast as it comes or slowly
//	load images     whole images: configs, layers, manifests
//
// The job is read from standard input and the outcome written to standard output, both as JSON. HTTP is written by hand
// (connection.go): the client of Go's library would take as much of the machine as the registries do.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: load requests|push|pull|images < job")
	}
	var result *outcome
	var err error
	switch os.Args[1] {
	case "requests":
		result, err = with(requests)
	case "push":
		result, err = with(push)
	case "pull":
		result, err = with(pull)
	case "images":
		result, err = with(images)
	default:
		return fmt.Errorf("no such work: %s", os.Args[1])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// with reads the job and does it.
func with[Job any](work func(Job) (*outcome, error)) (*outcome, error) {
	var job Job
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&job); err != nil {
		return nil, fmt.Errorf("the job: %w", err)
	}
	return work(job)
}

// useProcessors bounds what the generator may take; 0 stands for all there are.
func useProcessors(count int) {
	if count > 0 {
		runtime.GOMAXPROCS(count)
	}
}
