package build

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A program of the container that somebody has put something in the place of
// takes neither the builder's memory nor its time.
func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		step func(ctx context.Context, out io.Writer) (int, error)
		want error
		took time.Duration
	}{
		"answers": {func(_ context.Context, out io.Writer) (int, error) {
			_, err := io.WriteString(out, "42")
			return 0, err
		}, nil, 0},
		"goes on and on": {func(_ context.Context, out io.Writer) (int, error) {
			for {
				if _, err := io.WriteString(out, strings.Repeat("y\n", 1000)); err != nil {
					return 0, err
				}
			}
		}, errAnswer, 0},
		"says nothing": {func(ctx context.Context, _ io.Writer) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, context.DeadlineExceeded, askWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				text, err := ask(t.Context(), &fake{step: c.step}, Container{}, "du")
				if !errors.Is(err, c.want) || len(text) > maxAnswer || err == nil && text != "42" {
					t.Errorf("%d bytes, %v; want %v", len(text), err, c.want)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
			})
		})
	}
}
