package job

import "sync"

// bell wakes those who follow a job in the process that writes its files. A nil
// one never rings.
type bell struct {
	mu   sync.Mutex
	next map[ID]chan struct{} // guarded by mu: of jobs that are waited for
}

// wait returns what is closed when bell is next rung for a job.
func (b *bell) wait(id ID) <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next[id] == nil {
		b.next[id] = make(chan struct{})
	}
	return b.next[id]
}

// ring wakes all who wait for a job.
func (b *bell) ring(id ID) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if rung := b.next[id]; rung != nil {
		close(rung)
		delete(b.next, id)
	}
}
