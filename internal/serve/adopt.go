package serve

import (
	"context"
	"log/slog"
	"time"
)

// dropbox makes transactions of what other tools dropped into the inbox;
// *repo.Store is one.
type dropbox interface {
	Adopt(ctx context.Context, log *slog.Logger) (int, error)
}

// adopter reads dropped directories, which may take long, while the refresher
// goes on. What it makes of them comes back through the inbox.
type adopter struct {
	store dropbox
	drops hints
	log   *slog.Logger
}

// run looks at the inbox whenever there is a hint, until ctx ends. A directory
// it is in then is read again by the next start, from where this one got to.
func (a *adopter) run(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-a.drops:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if _, err := a.store.Adopt(ctx, a.log); err != nil && ctx.Err() == nil {
			a.log.Error("dropped directory not taken in", "err", err, "retry", retryMost)
			again.Reset(retryMost)
		}
	}
}
