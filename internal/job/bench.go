package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bench is a builder's side of the queue.
type Bench struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	key string // fingerprint of the builder's SSH key
	id  string // of the builder
}

// NewBench uses nc, which Connect or ConnectURL has made for key.
func NewBench(nc *nats.Conn, key, id string) (*Bench, error) {
	if err := errors.Join(CheckKey(key), CheckKey(id)); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &Bench{nc, js, key, id}, nil
}

// Task is a job that the hub has granted, and the message it came by.
type Task struct {
	Record
	bench *Bench
	msg   jetstream.Msg // nil when it came by an Order
}

// retryAfter is how long is waited after asking in vain.
const retryAfter = 300 * time.Millisecond

// pullFor is how long one request for a job stands. A builder that has run out
// of disk or memory since takes one all the same.
const pullFor = 5 * time.Second

// Take waits for a job for arch and claims it. It returns nil and no error
// where there was none for a while. ctx ends the wait, and nothing is lost:
// what was on its way comes to the next who asks.
func (b *Bench) Take(ctx context.Context, arch string) (*Task, error) {
	consumer, err := b.js.Consumer(ctx, Stream, Consumer(arch))
	if err != nil {
		return nil, fmt.Errorf("find the queue for %s: %w", arch, err)
	}
	waiting, cancel := context.WithTimeout(ctx, pullFor)
	defer cancel()
	msg, err := consumer.Next(jetstream.FetchContext(waiting))
	switch {
	case err == nil:
		return b.claim(ctx, msg)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages):
		return nil, nil
	}
	return nil, fmt.Errorf("take a job: %w", err)
}

// claim makes msg an attempt. A message that no job goes with any more is
// taken out of the queue; one whose job someone else has comes again later.
func (b *Bench) claim(ctx context.Context, msg jetstream.Msg) (*Task, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, errors.Join(err, msg.Term())
	}
	c := Claim{Job: ID(msg.Data()), Seq: meta.Sequence.Stream, Builder: b.id}
	r, err := Ask[*Record](ctx, b.nc, WorkSubject(b.key, OpClaim), c)
	switch {
	case err == nil:
		return &Task{Record: *r, bench: b, msg: msg}, nil
	case errors.Is(err, ErrNotFound):
		return nil, msg.TermWithReason(err.Error())
	case errors.Is(err, ErrBusy), errors.Is(err, ErrDenied):
		return nil, msg.NakWithDelay(5 * time.Second)
	}
	return nil, errors.Join(err, msg.NakWithDelay(retryAfter))
}

// Beat says that the builder lives, and returns the jobs it must give up.
func (b *Bench) Beat(ctx context.Context, s Builder) ([]Stop, error) {
	return Ask[[]Stop](ctx, b.nc, WorkSubject(b.key, OpBeat), s)
}

// Orders calls do for each order of the hub, one at a time, until stop is
// called. The hub waits for do a few seconds.
func (b *Bench) Orders(do func(Order) error) (stop func() error, err error) {
	sub, err := serve(b.nc, TellSubject(b.key, b.id), func(_ string, o Order) (any, error) {
		return struct{}{}, do(o)
	})
	if err != nil {
		return nil, err
	}
	return sub.Unsubscribe, nil
}

// Ordered is the task that an order to publish gives.
func (b *Bench) Ordered(r *Record) *Task { return &Task{Record: *r, bench: b} }

// Run names the attempt.
func (t *Task) Run() Run { return Run{t.ID, t.Attempt} }

// InProgress tells the queue not to hand the job to someone else yet.
func (t *Task) InProgress() error {
	if t.msg == nil {
		return nil
	}
	return t.msg.InProgress()
}

// Report tells the hub what has changed. It asks again until the hub has
// answered: what is reported is on disk then. ErrStale means that the attempt
// is not to go on.
func (t *Task) Report(ctx context.Context, r Report) error {
	reply, err := t.report(ctx, r)
	if err == nil && reply.State != Running {
		return Refuse(ErrStale, "the job is %s", reply.State)
	}
	return err
}

func (t *Task) report(ctx context.Context, r Report) (Reply, error) {
	r.Run = t.Run()
	return persist[Reply](ctx, t.bench, OpReport, r)
}

// End reports how the attempt has ended, and settles the message it came by.
func (t *Task) End(ctx context.Context, r Report) (State, error) {
	reply, err := t.report(ctx, r)
	if err != nil {
		return "", err // the message, if it counts, comes again to who may have it
	}
	return reply.State, t.settle(reply)
}

// settle says to the queue what End has learnt. Of a job that is parked or over
// the message has done its work.
func (t *Task) settle(r Reply) error {
	switch {
	case t.msg == nil:
		return nil
	case r.State == Queued:
		return t.msg.NakWithDelay(r.Delay)
	}
	return t.msg.Ack()
}

// LogWriter passes on what is written as the attempt's output, until ctx ends.
// A write returns when the hub has the bytes, however often it has to be asked.
func (t *Task) LogWriter(ctx context.Context) io.Writer { return &logWriter{ctx: ctx, task: t} }

type logWriter struct {
	ctx  context.Context
	task *Task
	at   int64
}

func (w *logWriter) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		part := b[n:min(n+MaxChunk, len(b))]
		_, err := persist[Next](w.ctx, w.task.bench, OpLog, Chunk{w.task.Run(), w.at, part})
		if err != nil {
			return n, err
		}
		n += len(part)
		w.at += int64(len(part))
	}
	return len(b), nil
}

// CopySource writes the tar of a job with SourceTar to w.
func (t *Task) CopySource(ctx context.Context, w io.Writer) error {
	for at := int64(0); ; {
		c, err := persist[Chunk](ctx, t.bench, OpContent, Chunk{Run: t.Run(), Offset: at})
		if err != nil || len(c.Data) == 0 {
			return err
		}
		if _, err := w.Write(c.Data); err != nil {
			return err
		}
		at += int64(len(c.Data))
	}
}

// answerWithin is how long an answer may take before the question is asked
// again. Every operation may be asked twice.
const answerWithin = 10 * time.Second

// persist asks until there is an answer of a class, or ctx ends.
func persist[A any](ctx context.Context, b *Bench, op string, question any) (A, error) {
	for {
		asking, cancel := context.WithTimeout(ctx, answerWithin)
		body, err := Ask[A](asking, b.nc, WorkSubject(b.key, op), question)
		cancel()
		if err == nil || ctx.Err() != nil || classOf(err) != "" && !errors.Is(err, ErrBusy) {
			return body, err
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return body, context.Cause(ctx)
		}
	}
}
