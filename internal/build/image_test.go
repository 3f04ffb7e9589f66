package build

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"serene/internal/build/buildtest"
)

// TestRefresh makes images of the embedded Containerfile, on the test image
// instead of Arch's.
func TestRefresh(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	images := &ImageBuilder{
		Engine: b.docker, Images: b.docker, Name: "serene-test-refresh", Base: buildtest.Image,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	t.Cleanup(func() { forget(t, b.docker, images) })
	forget(t, b.docker, images)

	began := time.Now().Truncate(time.Second)
	var log bytes.Buffer
	first, err := images.Ensure(t.Context(), &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	if !strings.Contains(log.String(), "Finished making: serene-proof") {
		t.Errorf("nothing was built in it:\n%s", log.Bytes())
	}
	if made, err := images.Made(t.Context()); err != nil || made.Before(began) || time.Since(made) < 0 {
		t.Errorf("made at %s, which is not between %s and now: %v", made, began, err)
	}
	if again, err := images.Ensure(t.Context(), &log); err != nil || again != first {
		t.Errorf("Ensure made %s of %s: %v", again, first, err)
	}
	second, err := images.Refresh(t.Context(), &log)
	if err != nil {
		t.Fatal(err)
	}
	tagged(t, b.docker, images, map[string]string{"current": second, "previous": first, "candidate": ""})

	// One that cannot build a package changes nothing.
	images.Base = brokenBase(t, b.docker)
	if _, err := images.Refresh(t.Context(), &log); CauseOf(err) != CauseCompile {
		t.Errorf("error = %v", err)
	}
	tagged(t, b.docker, images, map[string]string{"current": second, "previous": first, "candidate": ""})

	images.Base = buildtest.Image
	third, err := images.Refresh(t.Context(), &log)
	if err != nil {
		t.Fatal(err)
	}
	tagged(t, b.docker, images, map[string]string{"current": third, "previous": second, "candidate": ""})
	if _, err := b.docker.Digest(t.Context(), first); !errors.Is(err, ErrNoImage) {
		t.Errorf("the first image is still there: %v", err)
	}
}

// brokenBase is an image whose makepkg only fails.
func brokenBase(t *testing.T, d *Docker) string {
	t.Helper()
	const name = "serene-test-refresh:broken"
	var tar, log bytes.Buffer
	f := newFurniture(&tar)
	f.file("/Containerfile", []byte("FROM "+buildtest.Image+"\nRUN ln -sf /bin/false /usr/bin/makepkg\n"))
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
	if err := d.Build(t.Context(), &tar, name, nil, false, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	return name
}

func tagged(t *testing.T, d *Docker, b *ImageBuilder, want map[string]string) {
	t.Helper()
	for tag, digest := range want {
		got, err := d.Digest(t.Context(), b.tag(tag))
		if digest == "" && !errors.Is(err, ErrNoImage) || got != digest {
			t.Errorf("%s = %s, %v; want %s", tag, got, err, digest)
		}
	}
}

func forget(t *testing.T, d *Docker, b *ImageBuilder) {
	for _, tag := range []string{"current", "previous", "candidate", "broken"} {
		if err := d.Untag(context.WithoutCancel(t.Context()), b.tag(tag)); err != nil {
			t.Error(err)
		}
	}
	if err := d.Prune(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
