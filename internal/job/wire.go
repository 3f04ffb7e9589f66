package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The queue: a stream with a subject and a consumer for each architecture. A
// message is the id of a job; everything else is in its record.
const (
	Stream      = "SERENE_JOBS"
	jobSubjects = "serene.jobs."
)

// JobSubject is where jobs for arch are put.
func JobSubject(arch string) string { return jobSubjects + arch }

// AllJobs matches every JobSubject.
const AllJobs = jobSubjects + "*"

// Consumer is the name of the consumer that builders for arch take jobs from.
func Consumer(arch string) string { return arch }

// The hub answers requests on these subjects. What verbs ask is
// serene.hub.OPERATION. What builders ask is serene.work.KEY.OPERATION, and a
// builder may publish under its own key only: that is how the hub knows it.
// What the hub asks of a builder is serene.tell.KEY.ID.
const (
	AllHub  = "serene.hub.*"
	AllWork = "serene.work.*.*"
)

// HubSubject is where verbs ask for an operation.
func HubSubject(op string) string { return "serene.hub." + op }

// WorkSubject is where the builder with that key asks for an operation, or
// with ">" for any.
func WorkSubject(key, op string) string { return "serene.work." + key + "." + op }

// TellSubject is where a builder is asked.
func TellSubject(key, id string) string { return "serene.tell." + key + "." + id }

// Inbox is the prefix of the subjects on which the holder of key gets answers.
func Inbox(key string) string { return "_INBOX." + key }

// ParseSubject takes apart a HubSubject (key is "") or a WorkSubject.
func ParseSubject(subject string) (key, op string) {
	part := strings.Split(subject, ".")
	if len(part) == 4 {
		return part[2], part[3]
	}
	return "", part[len(part)-1]
}

// CheckKey refuses what cannot be a KEY in a subject. Fingerprints can.
func CheckKey(key string) error {
	if key == "" || strings.ContainsAny(key, ".*> \t\r\n") {
		return fmt.Errorf("%q cannot be part of a subject", key)
	}
	return nil
}

// The operations of verbs.
const (
	OpSubmit   = "submit"   // Submission → []Submitted
	OpCancel   = "cancel"   // Change → Record
	OpRetry    = "retry"    // Change → Record
	OpPublish  = "publish"  // Publication → Record
	OpBuilders = "builders" // nothing → []Builder
)

// The operations of builders.
const (
	OpClaim   = "claim"   // Claim → Record
	OpBeat    = "beat"    // Beat → []Stop
	OpReport  = "report"  // Report → Reply
	OpLog     = "log"     // Chunk → Next
	OpContent = "content" // Chunk (without data) → Chunk
)

// Spec asks for one job.
type Spec struct {
	ID      ID      `json:"id"` // chosen by the asker: its source may lie in the Dir already
	Base    string  `json:"pkgbase,omitempty"`
	Repo    string  `json:"repo"`
	Arch    string  `json:"arch"`
	Source  Source  `json:"source"`
	Options Options `json:"options,omitzero"`
}

// Submission asks for jobs, which become a group.
type Submission struct {
	By   Asker  `json:"by"`
	Jobs []Spec `json:"jobs"`
}

// Submitted is what became of one Spec.
type Submitted struct {
	Record
	Joined bool `json:"joined,omitempty"` // it is one that was there already
}

// Change asks for a change to one job.
type Change struct {
	ID      ID    `json:"id"`
	By      Asker `json:"by"`
	Publish bool  `json:"publish,omitempty"` // retry: only publish what was kept
}

// Publication asks whether the holder of Key may publish for a job.
type Publication struct {
	Job     ID     `json:"job"`
	Attempt int64  `json:"attempt"`
	Key     string `json:"key"`
	Commit  bool   `json:"commit"` // it is about to: the job cannot be cancelled any more
}

// Claim asks for a delivery of a message to be made an attempt.
type Claim struct {
	Job     ID     `json:"job"`
	Seq     uint64 `json:"seq"`
	Builder string `json:"builder"` // id
}

// Run is an attempt at a job.
type Run struct {
	Job     ID    `json:"job"`
	Attempt int64 `json:"attempt"`
}

// Builder is what a builder says of itself.
type Builder struct {
	ID       string   `json:"id"`       // stays with its state directory
	Instance string   `json:"instance"` // of the process
	Name     string   `json:"name"`     // for people: the host's
	Arches   []string `json:"arches"`
	Slots    int      `json:"slots"`
	Jobs     []Run    `json:"jobs"`
	Load     float64  `json:"load"`            // of the machine, as uptime has it
	Lacks    Lack     `json:"lacks,omitempty"` // for want of which it takes no job
	Note     string   `json:"note,omitempty"`  // the same for people, with figures

	// The hub adds these.
	Key  string    `json:"key,omitempty"`
	Seen time.Time `json:"seen,omitzero"` // last heartbeat
}

// Lack is what a builder has too little of to take a job, "" for nothing.
type Lack string

// What a builder may lack.
const (
	LacksDisk   Lack = "disk"
	LacksMemory Lack = "memory"
	LacksEngine Lack = "engine" // or the image in it
)

// Stop tells a builder to give up a job.
type Stop struct {
	Run
	Why string `json:"why"`
}

// How an attempt ends.
const (
	EndDone     = "done"
	EndFailed   = "failed"
	EndHandBack = "hand-back" // the builder stops: take it up elsewhere
	EndTrouble  = "trouble"   // of the host: try again after a while
	EndParked   = "parked"    // until Needs are there
)

// Report is what a builder says of an attempt. Only what is set has changed.
type Report struct {
	Run
	Phase     string   `json:"phase,omitempty"`
	Facts     Facts    `json:"facts,omitzero"`
	End       string   `json:"end,omitempty"`
	Cause     string   `json:"cause,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Needs     []Need   `json:"needs,omitempty"`
	Published []string `json:"published,omitempty"`
	Kept      bool     `json:"kept,omitempty"` // packages could not be published, and wait here
}

// Reply is what became of the job.
type Reply struct {
	State State         `json:"state"`
	Delay time.Duration `json:"delay,omitempty"` // before the next attempt
}

// Chunk is a part of a log, from Offset in what the attempt has printed, or of
// a job's source.
type Chunk struct {
	Run
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
}

// Next is the offset that a log is complete up to.
type Next struct {
	Offset int64 `json:"offset"`
}

// MaxChunk is the most bytes of Chunk.Data: with it, a message stays within
// NATS' limit of 1 MiB.
const MaxChunk = 256 << 10

// Order is what the hub asks of a builder. The answer is empty.
type Order struct {
	Stop    *Stop   `json:"stop,omitempty"`
	Publish *Record `json:"publish,omitempty"` // publish what was kept, as this attempt
}

// answer is what every request gets.
type answer struct {
	Class string          `json:"class,omitempty"`
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// Answer writes the answer to a request: body, or err.
func Answer(m *nats.Msg, body any, err error) error {
	var a answer
	if err == nil {
		a.Body, err = json.Marshal(body)
	}
	if err != nil {
		a = answer{Class: classOf(err), Error: err.Error()}
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return m.Respond(data)
}

// Ask sends a request and returns its answer. An error that the other side has
// answered with is an *Error; nobody there is ErrBusy.
func Ask[A any](ctx context.Context, nc *nats.Conn, subject string, question any) (body A, err error) {
	data, err := json.Marshal(question)
	if err != nil {
		return body, err
	}
	m, err := nc.RequestWithContext(ctx, subject, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return body, Refuse(ErrBusy, "the job queue is not there")
	}
	if err != nil {
		return body, fmt.Errorf("ask the job queue: %w", err)
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return body, fmt.Errorf("answer of the job queue: %w", err)
	}
	if a.Error != "" {
		return body, &Error{classes[a.Class], a.Error}
	}
	if err := json.Unmarshal(a.Body, &body); err != nil {
		return body, fmt.Errorf("answer of the job queue: %w", err)
	}
	return body, nil
}

// serve answers requests on subject with what do returns, one at a time.
func serve[Q any](nc *nats.Conn, subject string, do func(subject string, question Q) (any, error)) (*nats.Subscription, error) {
	return nc.Subscribe(subject, func(m *nats.Msg) {
		var q Q
		var body any
		err := json.Unmarshal(m.Data, &q)
		if err == nil {
			body, err = do(m.Subject, q)
		}
		_ = Answer(m, body, err) // who does not get it asks again
	})
}
