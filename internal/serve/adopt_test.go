package serve

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// slowBox notes when it is looked into, and fails as often as it is told to.
type slowBox struct {
	began time.Time
	fails int
	calls []time.Duration
}

func (b *slowBox) Adopt(ctx context.Context, _ *slog.Logger) (int, error) {
	b.calls = append(b.calls, time.Since(b.began))
	if len(b.calls) <= b.fails {
		return 0, errors.New("no")
	}
	return 1, nil
}

// The inbox is looked into at the start, at every hint, and again after a
// failure.
func TestAdopter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, drops := &slowBox{began: time.Now(), fails: 1}, newHints()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			(&adopter{store: box, drops: drops, log: slog.New(slog.DiscardHandler)}).run(ctx)
			close(ended)
		}()
		time.Sleep(time.Minute)
		drops.give()
		synctest.Wait()
		cancel()
		<-ended
		if want := []time.Duration{0, retryMost, time.Minute}; !slices.Equal(box.calls, want) {
			t.Errorf("looked at %v, want %v", box.calls, want)
		}
	})
}
