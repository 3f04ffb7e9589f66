package receive

import (
	"context"
	"errors"
	"io"
	"strings"

	"serene/internal/job"
)

// logOf prints the log of a job, or with -f follows it and ends as the job does.
func logOf(ctx context.Context, c *call) error {
	word, err := c.oneOperand("JOB")
	if err != nil {
		return err
	}
	r, err := c.findJob(word)
	if err != nil {
		return err
	}
	if c.flags.on("follow") {
		return c.follow(ctx, []job.ID{r.ID})
	}
	_, err = c.Builds.CopyLog(r.ID, &plain{w: c.out}, 0)
	return err
}

// follow prints the logs of jobs, one after the other, as they grow, and ends
// as they do. With --json the logs go to stderr, and stdout has a row a job.
func (c *call) follow(ctx context.Context, ids []job.ID) error {
	to := io.Writer(flushing{c})
	if c.flags.on("json") {
		to = c.err
	}
	var bad []*job.Record
	for _, id := range ids {
		r, err := c.Builds.Follow(ctx, id, &plain{w: to})
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			return jobError(err)
		}
		if c.flags.on("json") {
			if err := c.emit(rowOf(r), ""); err != nil {
				return err
			}
		}
		if r.State != job.Done {
			bad = append(bad, r)
		}
	}
	return verdict(bad)
}

// verdict is the error for jobs that have come to nothing.
func verdict(bad []*job.Record) error {
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return refuse(errFailed, "%s", strings.TrimPrefix(bad[0].Verdict(), "==> [verdict] "))
	}
	var lines []string
	for _, r := range bad {
		lines = append(lines, r.Label()+" "+strings.TrimPrefix(r.Verdict(), "==> [verdict] "))
	}
	return refuse(errFailed, "%s", strings.Join(lines, "; "))
}

// flushing has everything that is written to a call's stdout sent at once.
type flushing struct{ c *call }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.c.out.Write(b)
	if err != nil {
		return n, err
	}
	return n, f.c.out.Flush()
}

// plain passes text on without what would steer a terminal: it is what
// strangers' programs have printed. Newlines and tabs stay.
type plain struct {
	w     io.Writer
	after byte // a byte held back: it may begin a control character
}

func (p *plain) Write(b []byte) (int, error) {
	const lead = 0xc2 // of the UTF-8 of U+0080 to U+00BF; below U+00A0 are controls
	kept := make([]byte, 0, len(b)+1)
	for _, c := range b {
		held := p.after == lead
		p.after = 0
		switch {
		case held && c >= 0x80 && c < 0xa0:
			continue
		case held:
			kept = append(kept, lead)
		}
		switch {
		case c == lead:
			p.after = c
		case c >= ' ' && c != 0x7f, c == '\n', c == '\t':
			kept = append(kept, c)
		}
	}
	if _, err := p.w.Write(kept); err != nil {
		return 0, err
	}
	return len(b), nil
}
