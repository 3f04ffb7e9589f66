package durable

import (
	"fmt"
	"sync/atomic"
)

// Op is a kind of system call that decides what survives.
type Op string

// The operations a test can make fail.
const (
	OpSync    Op = "fsync"
	OpSyncDir Op = "fsync directory"
	OpRename  Op = "rename"
	OpSymlink Op = "symlink"
)

// Fault is what a test has become of an operation.
type Fault int

// An operation may fail in two ways that its caller cannot tell apart.
const (
	NoFault         Fault = iota
	Failed                // not done, and said so
	FailedPersisted       // done, and yet said to have failed
)

var injected atomic.Pointer[func(Op, string) Fault]

// InjectFaults has fault decide on every operation of this process until the
// test t ends. It is for tests alone; path is the file or directory concerned,
// of a rename the new name.
func InjectFaults(t interface{ Cleanup(func()) }, fault func(op Op, path string) Fault) {
	injected.Store(&fault)
	t.Cleanup(func() { injected.Store(nil) })
}

// do is one operation.
func do(op Op, path string, f func() error) error {
	fault := injected.Load()
	if fault == nil {
		return f()
	}
	switch (*fault)(op, path) {
	case Failed:
		return fmt.Errorf("%s %s: injected, not done", op, path)
	case FailedPersisted:
		if err := f(); err != nil {
			return err
		}
		return fmt.Errorf("%s %s: injected, but done", op, path)
	}
	return f()
}
