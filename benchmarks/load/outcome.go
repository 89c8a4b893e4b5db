package main

import (
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// outcome is what came of a job. Done, Bytes and the latencies are of the measured time; Handled and Moved include what
// was before it, to warm up.
type outcome struct {
	Seconds    float64            `json:"seconds"`
	Done       int64              `json:"done"`
	Bytes      int64              `json:"bytes"`
	Handled    int64              `json:"handled"`
	Moved      int64              `json:"moved"`
	Failed     int64              `json:"failed"`
	Failure    string             `json:"failure"`
	Statuses   map[string]int64   `json:"statuses"`
	Latency    map[string]float64 `json:"latency"` // milliseconds
	CPUSeconds float64            `json:"cpu_seconds"`
}

// tally is what one worker has seen. Nothing of it is shared until the end.
type tally struct {
	micros   []uint32
	bytes    int64
	handled  int64
	moved    int64
	failed   int64
	failure  string
	statuses map[int]int64
}

func newTally() *tally {
	return &tally{statuses: map[int]int64{}}
}

func (t *tally) fail(err error) {
	t.failed++
	if t.failure == "" {
		t.failure = err.Error()
	}
}

func (t *tally) answered(status int, bytes int64, took time.Duration, measured bool) {
	t.handled++
	t.moved += bytes
	if measured {
		t.statuses[status]++
		t.bytes += bytes
		t.micros = append(t.micros, uint32(min(took.Microseconds(), 1<<32-1)))
	}
}

// crew runs workers, each with its own tally, and adds up what they have seen.
func crew(workers int, work func(number int, tally *tally)) []*tally {
	var group sync.WaitGroup
	tallies := make([]*tally, workers)
	for number := range tallies {
		tallies[number] = newTally()
		group.Add(1)
		go func() {
			defer group.Done()
			work(number, tallies[number])
		}()
	}
	group.Wait()
	return tallies
}

func total(tallies []*tally, seconds, cpuSeconds float64) *outcome {
	sum := &outcome{Seconds: seconds, CPUSeconds: cpuSeconds, Statuses: map[string]int64{}}
	var micros []uint32
	for _, tally := range tallies {
		micros = append(micros, tally.micros...)
		sum.Bytes += tally.bytes
		sum.Handled += tally.handled
		sum.Moved += tally.moved
		sum.Failed += tally.failed
		if sum.Failure == "" {
			sum.Failure = tally.failure
		}
		for status, count := range tally.statuses {
			sum.Statuses[strconv.Itoa(status)] += count
		}
	}
	sum.Done = int64(len(micros))
	sum.Latency = percentiles(micros)
	return sum
}

func percentiles(micros []uint32) map[string]float64 {
	found := map[string]float64{}
	if len(micros) == 0 {
		return found
	}
	slices.Sort(micros)
	for name, share := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1} {
		index := min(int(share*float64(len(micros))), len(micros)-1)
		found[name] = float64(micros[index]) / 1000
	}
	return found
}

// cpuSeconds is what this process has used until now.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
