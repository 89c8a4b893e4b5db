package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// requestsJob is many requests of one form. Path, fields and body are templates.
type requestsJob struct {
	Address     string            `json:"address"`
	Method      string            `json:"method"`
	Path        string            `json:"path"`
	Fields      map[string]string `json:"fields"`
	Body        string            `json:"body"`
	Digests     string            `json:"digests"` // a file: 32 bytes each
	Count       int               `json:"count"`   // numbers are below this
	Sequence    bool              `json:"sequence"`
	First       int               `json:"first"` // where a sequence begins
	Limit       int               `json:"limit"` // of a sequence; 0 for none
	Span        int64             `json:"span"`  // of a range
	Size        int64             `json:"size"`  // of what ranges are of
	Connections int               `json:"connections"`
	NewEach     bool              `json:"new_each"` // a connection for each request
	Rate        float64           `json:"rate"`     // a second, all connections together; 0 for as fast as it goes
	Warmup      float64           `json:"warmup"`
	Seconds     float64           `json:"seconds"`
	Expect      []int             `json:"expect"`
	Processors  int               `json:"processors"`
}

// Stopping at the first failures: a registry that answers nothing right is not measured by going on.
const mostFailures = 100

func requests(job requestsJob) (*outcome, error) {
	useProcessors(job.Processors)
	form, err := newForm(&job)
	if err != nil {
		return nil, err
	}
	window := newWindow(job.Warmup, job.Seconds)
	var next atomic.Int64
	tallies := crew(job.Connections, func(number int, tally *tally) {
		worker := &requester{
			job: &job, form: form, window: window, tally: tally, next: &next,
			connection: newConnection(job.Address, 16*1024),
			chance:     rand.New(rand.NewPCG(uint64(number), uint64(time.Now().UnixNano()))),
		}
		defer worker.connection.close()
		if job.Rate > 0 {
			worker.steadily(number)
		} else {
			worker.quickly()
		}
	})
	seconds, used := window.measured()
	return total(tallies, seconds, used), nil
}

// window is when something counts.
type window struct {
	start, stop time.Time
	usedBefore  atomic.Value
}

func newWindow(warmup, seconds float64) *window {
	now := time.Now()
	w := &window{start: now.Add(duration(warmup))}
	w.stop = w.start.Add(duration(seconds))
	w.usedBefore.Store(cpuSeconds())
	time.AfterFunc(duration(warmup), func() { w.usedBefore.Store(cpuSeconds()) })
	return w
}

// measured is for how long it was open, and what this process has used meanwhile. Work that has a limit may end early.
func (w *window) measured() (seconds, used float64) {
	end := time.Now()
	if end.After(w.stop) {
		end = w.stop
	}
	return end.Sub(w.start).Seconds(), cpuSeconds() - w.usedBefore.Load().(float64)
}

// counts tells whether something that has ended now belongs to the measured time, whenever it began: else what takes
// long would be left out more often than what is quick.
func (w *window) counts(end time.Time) bool {
	return end.After(w.start) && end.Before(w.stop)
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}

// form is what all requests of a job have in common.
type form struct {
	head, body template
	hasBody    bool
}

func newForm(job *requestsJob) (*form, error) {
	digests, err := readDigests(job.Digests, job.Count)
	if err != nil {
		return nil, err
	}
	text := requestHead(job.Address, job.Method, job.Path)
	for name, value := range job.Fields {
		text += field(name, value)
	}
	if job.NewEach {
		text += field("Connection", "close")
	}
	made := &form{hasBody: job.Body != "", body: parseTemplate(job.Body, digests, job.Span, job.Size)}
	if made.hasBody {
		// All numbers have as many digits as the first.
		length := len(made.body.fill(nil, 0, nil))
		text += field("Content-Length", strconv.Itoa(length))
	}
	made.head = parseTemplate(text+"\r\n", digests, job.Span, job.Size)
	if strings.Contains(text, "{range}") && job.Size <= job.Span {
		return nil, fmt.Errorf("no range of %d in %d bytes", job.Span, job.Size)
	}
	return made, nil
}

type requester struct {
	job        *requestsJob
	form       *form
	window     *window
	tally      *tally
	next       *atomic.Int64
	connection *connection
	chance     *rand.Rand
	buffer     []byte
}

func (r *requester) quickly() {
	for r.goesOn() {
		if !r.once(time.Now()) {
			return
		}
	}
}

// steadily sends at times that were fixed before, and counts from them: a slow answer makes those behind it late.
func (r *requester) steadily(number int) {
	interval := duration(float64(r.job.Connections) / r.job.Rate)
	due := time.Now().Add(interval * time.Duration(number) / time.Duration(r.job.Connections))
	for ; r.goesOn(); due = due.Add(interval) {
		time.Sleep(time.Until(due))
		if !r.once(due) {
			return
		}
	}
}

func (r *requester) goesOn() bool {
	return time.Now().Before(r.window.stop) && r.tally.failed < mostFailures
}

// once sends one request; it tells whether there was one left.
func (r *requester) once(begin time.Time) bool {
	number, found := r.number()
	if !found {
		return false
	}
	r.buffer = r.form.head.fill(r.buffer[:0], number, r.chance)
	if r.form.hasBody {
		r.buffer = r.form.body.fill(r.buffer, number, r.chance)
	}
	answer, size, err := r.connection.ask(r.job.Method, r.buffer)
	end := time.Now()
	if r.job.NewEach {
		r.connection.close()
	}
	if err == nil && !slices.Contains(r.job.Expect, answer.status) {
		err = fmt.Errorf("status %d for %s", answer.status, strings.SplitN(string(r.buffer), "\r\n", 2)[0])
	}
	if err != nil {
		r.connection.close()
		r.tally.fail(err)
		return true
	}
	r.tally.answered(answer.status, size, end.Sub(begin), r.window.counts(end))
	return true
}

func (r *requester) number() (int, bool) {
	if !r.job.Sequence {
		return r.chance.IntN(max(r.job.Count, 1)), true
	}
	taken := int(r.next.Add(1)) - 1
	if r.job.Limit > 0 && taken >= r.job.Limit {
		return 0, false
	}
	return r.job.First + taken, true
}
