package repo

import (
	"runtime"

	"golang.org/x/sync/errgroup"
)

// parallel calls f for each of items, at most limit at a time, and returns the
// first error after all have ended. On one processor it calls them one after
// another, on the caller's thread.
func parallel[T any](items []T, limit int, f func(T) error) error {
	if runtime.GOMAXPROCS(0) == 1 {
		for _, item := range items {
			if err := f(item); err != nil {
				return err
			}
		}
		return nil
	}
	var group errgroup.Group
	group.SetLimit(limit)
	for _, item := range items {
		group.Go(func() error { return f(item) })
	}
	return group.Wait()
}
