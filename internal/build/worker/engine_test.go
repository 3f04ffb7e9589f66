package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// fakeImage is an image that fails to be made as often as fails says.
type fakeImage struct {
	made  time.Time
	fails int
	tried []time.Duration // when, since start
	start time.Time
}

func (f *fakeImage) Made(context.Context) (time.Time, error) { return f.made, nil }

func (f *fakeImage) Refresh(context.Context, io.Writer) (string, error) {
	f.tried = append(f.tried, time.Since(f.start))
	if f.fails--; f.fails >= 0 {
		return "", errors.New("no registry")
	}
	f.made = time.Now()
	return "sha256:0", nil
}

// An image is made anew by its age, not by how long the builder has run, and one
// that could not be made is tried again.
func TestImageIsRefreshedByItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f := &fakeImage{made: time.Now().Add(-20 * time.Hour), fails: 1, start: time.Now()}
		go Docker{Refresh: 24 * time.Hour, Log: slog.New(slog.DiscardHandler)}.refresh(ctx, f)
		<-time.After(30 * time.Hour)
		synctest.Wait()
		want := []time.Duration{4 * time.Hour, 5 * time.Hour, 29 * time.Hour}
		if len(f.tried) != len(want) {
			t.Fatalf("made after %s, want %s", f.tried, want)
		}
		for i := range want {
			if f.tried[i] != want[i] {
				t.Errorf("made after %s, want %s", f.tried, want)
			}
		}
	})
}
