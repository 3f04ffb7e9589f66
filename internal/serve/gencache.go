package serve

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// How much of the generations' files is kept in memory, in bytes. Both
// databases of 15,000 packages are about 20 MiB.
const (
	cacheMost     = 64 << 20
	cacheMostFile = 32 << 20
)

// genFile names a file of a generation; what is in it never changes.
type genFile struct {
	repo, arch string
	gen        int64
	name       string
}

// content is a file to serve, open until closed.
type content struct {
	io.ReadSeeker
	io.Closer
	at time.Time // Last-Modified
}

// genCache keeps the files of generations in memory, the oldest making room.
type genCache struct {
	mu    sync.Mutex // guards what follows
	files map[genFile]cached
	order []genFile // as they came in
	bytes int
}

type cached struct {
	data []byte
	at   time.Time
}

func newGenCache() *genCache { return &genCache{files: make(map[genFile]cached)} }

// get returns the file, opening it if it is not in memory.
func (c *genCache) get(file genFile, open func(repo, arch string, gen int64, name string) (*os.File, error)) (*content, error) {
	if have, ok := c.lookup(file); ok {
		return have.content(), nil
	}
	f, err := open(file.repo, file.arch, file.gen, file.name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if st.Size() > cacheMostFile {
		return &content{f, f, st.ModTime()}, nil
	}
	defer f.Close()
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	got := cached{data, st.ModTime()}
	c.add(file, got)
	return got.content(), nil
}

func (c *genCache) lookup(file genFile) (cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	have, ok := c.files[file]
	return have, ok
}

func (c *genCache) add(file genFile, got cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.files[file]; ok {
		return // another request was faster
	}
	c.files[file] = got
	c.order = append(c.order, file)
	c.bytes += len(got.data)
	for c.bytes > cacheMost {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.bytes -= len(c.files[oldest].data)
		delete(c.files, oldest)
	}
}

func (c cached) content() *content {
	return &content{bytes.NewReader(c.data), io.NopCloser(nil), c.at}
}
