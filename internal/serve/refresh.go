package serve

import (
	"context"
	"log/slog"
	"time"

	"serene/internal/config"
	"serene/internal/repo"
)

// How long the writer waits after it failed, at first and at most: a full disk
// is not emptied sooner by asking more often.
const (
	retryFirst = 250 * time.Millisecond
	retryMost  = 30 * time.Second
)

// When what nobody asks for any more is removed: not while the start is on.
const (
	collectFirst = time.Minute
	collectEvery = time.Hour
)

// writer changes what is published; *repo.Writer is one. Its methods are called
// by one goroutine. After an error of Refresh nothing is lost, and calling it
// again goes on with what is left.
type writer interface {
	Refresh(ctx context.Context) (int, error)
	Collect(now time.Time, keep repo.Keep) ([]repo.Garbage, error)
}

// terms are what the configuration says about refreshing.
type terms struct {
	pace pace
	keep repo.Keep
}

func termsOf(c *config.Config) terms {
	return terms{
		pace: pace{debounce: c.Serve.Debounce.Std(), maxDelay: c.Serve.MaxDelay.Std()},
		keep: repo.Keep{Generations: c.Serve.KeepGenerations.Std(), Packages: c.Serve.PackageGrace.Std(), Stages: c.Serve.KeepStaged.Std()},
	}
}

// refresher is the one goroutine that calls the writer.
type refresher struct {
	writer  writer
	hints   hints
	changes <-chan terms // from reloads
	log     *slog.Logger
	figures *figures

	terms terms
	quiet time.Time     // no refresh before this, unless one waited its maxDelay
	retry time.Duration // the last wait after a failure, 0 after a success
	again *time.Timer   // runs out when a failed refresh is to be tried again
}

// run refreshes whenever hints say so, until ctx ends. The refresh it is in
// then is finished first.
func (r *refresher) run(ctx context.Context) {
	collect := time.NewTimer(collectFirst)
	defer collect.Stop()
	r.again = time.NewTimer(0)
	r.again.Stop()
	defer r.again.Stop()
	for {
		select {
		case first := <-r.hints:
			if !sleep(ctx, r.terms.pace.until(first, r.quiet)) {
				return
			}
			r.refresh(ctx)
		case <-r.again.C:
			r.refresh(ctx)
		case r.terms = <-r.changes:
		case <-collect.C:
			r.collect()
			collect.Reset(collectEvery)
		case <-ctx.Done():
			return
		}
	}
}

// refresh does one refresh and settles when the next may start. One that found
// nothing asks for no quiet: whatever comes next is the first of its kind.
func (r *refresher) refresh(ctx context.Context) {
	r.hints.forget()
	r.again.Stop()
	began := time.Now()
	n, err := r.writer.Refresh(context.WithoutCancel(ctx))
	r.figures.refreshed(time.Since(began), n, err)
	switch {
	case err != nil:
		r.failed(err)
	case n > 0:
		r.retry, r.quiet = 0, time.Now().Add(r.terms.pace.debounce)
		r.log.Info("refreshed", "transactions", n, "took", time.Since(began))
	default:
		r.retry, r.quiet = 0, time.Time{}
	}
}

// failed arranges for another try, each later than the one before.
func (r *refresher) failed(err error) {
	r.retry = min(max(2*r.retry, retryFirst), retryMost)
	r.quiet = time.Now().Add(r.retry)
	r.log.Error("refresh failed", "err", err, "retry", r.retry)
	r.again.Reset(r.retry)
}

// collect removes what nobody asks for any more.
func (r *refresher) collect() {
	if _, err := r.writer.Collect(time.Now(), r.terms.keep); err != nil {
		r.log.Error("collect failed", "err", err)
	}
}
