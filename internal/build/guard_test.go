package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// fake is an engine whose one step goes on until it is told to end, or for ever.
type fake struct {
	Engine
	usage   func() (Usage, error)
	measure []time.Time   // when the disk was measured
	slow    time.Duration // what that takes
	step    func(context.Context, io.Writer) (int, error)
	removed int
}

func (f *fake) Digest(context.Context, string) (string, error) { return "sha256:0", nil }

func (f *fake) Made(context.Context, string) (time.Time, error) { return time.Time{}, nil }
func (f *fake) Build(context.Context, io.Reader, string, map[string]string, bool, io.Writer) error {
	return errors.ErrUnsupported
}
func (f *fake) Tag(context.Context, string, string) error       { return errors.ErrUnsupported }
func (f *fake) Untag(context.Context, string) error             { return errors.ErrUnsupported }
func (f *fake) Prune(context.Context) error                     { return errors.ErrUnsupported }
func (f *fake) Create(context.Context, Spec) (Container, error) { return Container{ID: "fake"}, nil }
func (f *fake) Isolate(context.Context, Container) error        { return nil }
func (f *fake) Remove(context.Context, Container) error         { f.removed++; return nil }

func (f *fake) Put(_ context.Context, _ Container, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (f *fake) Get(context.Context, Container, string) (io.ReadCloser, error) {
	var b bytes.Buffer
	t := newFurniture(&b)
	t.file("/passwd", []byte("root:x:0:0:::\nbuild:x:1000:1000:::\n"))
	return io.NopCloser(&b), t.end()
}

func (f *fake) Exec(ctx context.Context, _ Container, _ Step, out io.Writer) (int, error) {
	if f.step != nil {
		return f.step(ctx, out)
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

func (f *fake) Usage(_ context.Context, _ Container, disk bool) (Usage, error) {
	if disk {
		f.measure = append(f.measure, time.Now())
		<-time.After(f.slow)
	}
	if f.usage == nil {
		return Usage{Running: true, Free: -1}, nil
	}
	return f.usage()
}

// runFake runs a recipe in a fake engine, and says how long it took.
func runFake(t *testing.T, f *fake, change func(*Recipe)) (time.Duration, error) {
	t.Helper()
	r := Recipe{Job: "j", Base: "foo", Network: NetworkNone, Tree: t.TempDir(), Out: t.TempDir(), Limits: Limits{Timeout: 3 * time.Hour}}
	change(&r)
	start := time.Now()
	_, err := NewSandbox(f, f, "image", slog.New(slog.DiscardHandler)).Run(t.Context(), r, io.Discard, nil)
	took := time.Since(start)
	if f.removed != 1 {
		t.Errorf("removed %d times", f.removed)
	}
	return took, err
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took, err := runFake(t, &fake{}, func(r *Recipe) { r.Limits.Timeout = 2 * time.Hour })
		if CauseOf(err) != CauseTimeout || took != 2*time.Hour {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{step: func(ctx context.Context, out io.Writer) (int, error) {
			for range 10 { // talkative for long enough, then silent
				<-time.After(19 * time.Minute)
				io.WriteString(out, "x")
			}
			<-ctx.Done()
			return 0, ctx.Err()
		}}
		took, err := runFake(t, f, func(r *Recipe) { r.Limits.Timeout, r.Limits.Silence = 0, 20*time.Minute })
		if CauseOf(err) != CauseSilence || took < 210*time.Minute || took > 211*time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// A build that touches the limit of processes for a moment goes on.
func TestPids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		f := &fake{usage: func() (Usage, error) {
			looks++
			u := Usage{Running: true, Pids: 64, Free: -1}
			if looks < 100 && looks%3 == 0 {
				u.Pids = 63
			}
			return u, nil
		}}
		took, err := runFake(t, f, func(r *Recipe) { r.Limits.Pids = 64 })
		if CauseOf(err) != CausePids || took < 100*time.Second || took > 103*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// A full disk is the job's fault within its own share only.
func TestDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		Usage
		want Cause
	}{
		{"its own", Usage{Running: true, Disk: 11, Free: 1000}, CauseDisk},
		{"the machine's", Usage{Running: true, Disk: 9, Free: 99}, CauseHost},
		{"its own first", Usage{Running: true, Disk: 11, Free: 99}, CauseDisk},
		{"not measured", Usage{Running: true, Disk: -1, Free: -1}, CauseTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{usage: func() (Usage, error) { return c.Usage, nil }}
				_, err := runFake(t, f, func(r *Recipe) { r.Limits.Disk, r.Limits.MinFree = 10, 100 })
				if CauseOf(err) != c.want {
					t.Errorf("error = %v, want %s", err, c.want)
				}
			})
		})
	}
}

// A step that failed for want of the machine's disk is not blamed on the package,
// be it that it ended before anyone looked.
func TestStepFailsOnAFullDisk(t *testing.T) {
	for _, c := range []struct {
		free int64
		want Cause
	}{{99, CauseHost}, {100, CauseCompile}, {-1, CauseCompile}} {
		f := &fake{
			usage: func() (Usage, error) { return Usage{Running: true, Free: c.free}, nil },
			step:  func(context.Context, io.Writer) (int, error) { return 4, nil },
		}
		_, err := runFake(t, f, func(r *Recipe) { r.Limits.MinFree = 100 })
		if CauseOf(err) != c.want {
			t.Errorf("%d bytes free: %v, want %s", c.free, err, c.want)
		}
	}
}

// Measuring a disk that takes long is done seldom.
func TestDiskIsMeasuredSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{slow: 3 * time.Second}
		runFake(t, f, func(r *Recipe) { r.Limits.Timeout = 10 * time.Minute })
		if n := len(f.measure); n < 9 || n > 11 { // once a minute
			t.Errorf("measured %d times in 10 minutes", n)
		}
	})
}

// An engine that answers nothing more is not the package's fault.
func TestEngineGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{
			usage: func() (Usage, error) { return Usage{}, io.ErrUnexpectedEOF },
			step: func(context.Context, io.Writer) (int, error) {
				<-time.After(time.Minute)
				return 0, io.ErrUnexpectedEOF
			},
		}
		took, err := runFake(t, f, func(*Recipe) {})
		if CauseOf(err) != CauseHost || took != time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "==> [verdict] done"},
		{&Failure{CauseCompile, "A failure occurred in build()."}, "==> [verdict] failed: compile: A failure occurred in build()."},
		{&Failure{CausePackage, "output: \"a\nb\x1b[2J\""}, "==> [verdict] failed: package: output: \"a b [2J\""},
		{os.ErrDeadlineExceeded, "==> [verdict] failed: host: i/o timeout"},
		{context.Canceled, "==> [verdict] cancelled"},
	} {
		if got := Verdict(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestCounters(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       counters
	}{
		{"v1", "memory.oom_kill_disable 0\nmemory.under_oom 0\nmemory.oom_kill 2\npids.max 7\n", counters{2, 7}},
		{"v2", "memory.low 0\nmemory.max 12\nmemory.oom 1\nmemory.oom_kill 1\npids.max 0\n", counters{1, 0}},
		{"neither", "bash: cd: no such directory\n", counters{}},
	} {
		if got := parseCounters(c.text); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
