package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// pullJob is one path read by Parallel readers, each once, or again and again for Seconds. A Rate, in bytes a second
// for each reader, makes them slow; then what they are sent is not read to its end either.
type pullJob struct {
	Address    string  `json:"address"`
	Path       string  `json:"path"`
	Parallel   int     `json:"parallel"`
	Seconds    float64 `json:"seconds"`
	Rate       int     `json:"rate"`
	Processors int     `json:"processors"`
}

func pull(job pullJob) (*outcome, error) {
	useProcessors(job.Processors)
	if job.Rate > 0 && job.Seconds == 0 {
		return nil, errors.New("slow readers need a time")
	}
	begin, before := time.Now(), cpuSeconds()
	stop := time.Time{}
	if job.Seconds > 0 {
		stop = begin.Add(duration(job.Seconds))
	}
	tallies := crew(job.Parallel, func(number int, tally *tally) {
		reader := &reader{&job, newConnection(job.Address, 256*1024), stop}
		defer reader.connection.close()
		for {
			start := time.Now()
			size, finished, err := reader.read()
			tally.moved += size
			tally.bytes += size
			if err != nil {
				tally.fail(err)
				return
			}
			if finished {
				tally.answered(200, 0, time.Since(start), true)
			}
			if !finished || stop.IsZero() {
				return
			}
		}
	})
	return total(tallies, time.Since(begin).Seconds(), cpuSeconds()-before), nil
}

type reader struct {
	job        *pullJob
	connection *connection
	stop       time.Time
}

// read reads the body once; it tells how much it was, and whether that was all.
func (r *reader) read() (int64, bool, error) {
	request := requestHead(r.job.Address, "GET", r.job.Path) + "\r\n"
	answer, err := r.connection.begin([]byte(request))
	if err != nil {
		return 0, false, err
	}
	if answer.status != 200 || answer.length < 0 {
		return 0, false, fmt.Errorf("status %d and %d bytes for GET", answer.status, answer.length)
	}
	left := answer.length
	for left > 0 {
		if !r.stop.IsZero() && time.Now().After(r.stop) {
			return answer.length - left, false, nil
		}
		count, err := r.some(left)
		left -= int64(count)
		if err != nil && left > 0 {
			return answer.length - left, false, err
		}
	}
	if answer.closes {
		r.connection.close()
	}
	return answer.length, true, nil
}

func (r *reader) some(left int64) (int, error) {
	most := min(left, int64(len(r.connection.scratch)))
	if r.job.Rate > 0 {
		most = min(most, int64(r.job.Rate/10))
		time.Sleep(100 * time.Millisecond)
	}
	if r.connection.input.Buffered() > 0 {
		return r.connection.input.Read(r.connection.scratch[:most])
	}
	count, err := r.connection.socket.Read(r.connection.scratch[:most])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return count, err
}
