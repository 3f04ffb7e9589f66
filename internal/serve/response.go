package serve

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// A client may be as slow as it likes as long as it takes a chunk within
// stallTimeout; one that takes nothing is cut off. There is no limit on the
// whole answer, which may be a gigabyte over a telephone line.
const (
	chunkSize    = 128 << 10
	stallTimeout = time.Minute
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// response counts what is answered and moves the write deadline along.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	copying bool // the connection cannot take bytes straight from a file
	status  int  // 0 before the header is written
	sent    int64
}

func newResponse(w http.ResponseWriter, r *http.Request) *response {
	return &response{ResponseWriter: w, control: http.NewResponseController(w), copying: r.TLS != nil}
}

// describe sets the headers that are the same for every answer of a kind.
func (w *response) describe(contentType, cache string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", cache)
}

// WriteHeader notes the status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes b, which is at most a chunk: what is longer comes by ReadFrom.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.progress()
	n, err := w.ResponseWriter.Write(b)
	w.sent += int64(n)
	return n, err
}

// progress gives the client another stallTimeout. That a connection knows no
// deadlines is only so in tests.
func (w *response) progress() { _ = w.control.SetWriteDeadline(time.Now().Add(stallTimeout)) }

// ReadFrom is how http.ServeContent copies. Over TLS it reads chunks that are
// larger than io.Copy's; over plain TCP it lets the kernel copy from the file,
// as much at a time as a slow client takes before its deadline.
func (w *response) ReadFrom(src io.Reader) (total int64, err error) {
	if w.copying {
		buf := chunks.Get().(*[chunkSize]byte)
		defer chunks.Put(buf)
		return io.CopyBuffer(onlyWriter{w}, onlyReader{src}, buf[:])
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 && err == nil {
		var n int64
		w.progress()
		n, err = io.CopyN(w.ResponseWriter, limited.R, min(limited.N, chunkSize))
		limited.N -= n
		total += n
		w.sent += n
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// These hide the shortcuts io.CopyBuffer would take around its buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
