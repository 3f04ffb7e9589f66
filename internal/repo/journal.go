package repo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Record is one line of a repository's journal: one change, and the generation
// it became part of. The lines form a chain: each carries the SHA-256 of the
// line before it, newline included, and ends in its own, so none can be altered
// or lost unseen.
type Record struct {
	Gen  int64     `json:"gen"`
	Time time.Time `json:"time"`
	Tx   string    `json:"tx"`
	Actor
	Modified time.Time       `json:"modified"`         // Last-Modified of generation Gen
	Arches   []string        `json:"arches,omitempty"` // the databases generation Gen was written for
	Add      []JournalItem   `json:"add,omitempty"`    // what entered
	Remove   []JournalItem   `json:"remove,omitempty"` // what left, and was not replaced
	Hold     map[string]Hold `json:"hold,omitempty"`
	Unhold   []string        `json:"unhold,omitempty"`
	More     bool            `json:"more,omitempty"`  // further lines of Gen follow; only all of them count
	Aside    string          `json:"aside,omitempty"` // file of the damaged journal that this one takes the place of
	Prev     string          `json:"prev"`
}

// JournalItem names a package in one database: one for the architecture any
// stands once for each.
type JournalItem struct {
	Name    string `json:"name"`
	Base    string `json:"base"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // of the package
	In      string `json:"in"`   // the database
	File    string `json:"filename"`
	SHA256  string `json:"sha256"`
}

func itemOf(p place, e *alpm.Entry) JournalItem {
	return JournalItem{Name: e.Name, Base: e.Base, Version: string(e.Version), Arch: e.Arch,
		In: p.arch, File: e.FileName, SHA256: e.SHA256}
}

// journal is the append-only record of one repository. The last line decides
// what the current generation is.
type journal struct {
	path     string
	gen      int64     // of the last record
	modified time.Time // of that generation
	prev     string    // hash of the last line
	end      int64     // length in bytes of what is committed
}

// History calls each for every committed record of repo's journal, oldest first.
func (s *Store) History(repo string, each func(*Record)) error {
	_, err := openJournal(s.journal(repo), each)
	return err
}

// errDamaged is a journal that is not as it was written.
var errDamaged = errors.New("damaged")

// maxLine bounds a journal line: a bulk import names every package in one.
const maxLine = 256 << 20

// openJournal checks the chain of path, calls each for every committed record,
// oldest first. What a crash left unfinished at the end does not count and is
// overwritten by the next append.
func openJournal(path string, each func(*Record)) (*journal, error) {
	j := &journal{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := j.read(f, each); err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

func (j *journal) read(r io.Reader, each func(*Record)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var open []*Record // of a generation whose last line has not come yet
	prev := ""
	for pos, n := int64(0), 1; ; n++ {
		line, err := readLine(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		rec := new(Record)
		if err := parseLine(line, rec); err != nil {
			return fmt.Errorf("%w: line %d: %w", errDamaged, n, err)
		}
		if rec.Prev != prev {
			return fmt.Errorf("%w: line %d does not follow from the line before it", errDamaged, n)
		}
		prev, pos = hashLine(line), pos+int64(len(line))
		if open = append(open, rec); rec.More {
			continue
		}
		for _, rec := range open {
			each(rec)
		}
		open = nil
		j.gen, j.modified, j.prev, j.end = rec.Gen, rec.Modified, prev, pos
	}
}

// summed ends a line of JSON with the hash of what stands before that: the chain
// tells of every line but the last whether it is as it was written.
func summed(object []byte) []byte {
	body := bytes.TrimSuffix(object, []byte("}"))
	return fmt.Appendf(body, ",\"sum\":\"%s\"}\n", hashLine(body))
}

// sumLen is the length of what summed adds: as much as it adds to nothing.
var sumLen = len(summed(nil))

// parseLine reads what summed wrote.
func parseLine(line []byte, rec *Record) error {
	body := line[:max(0, len(line)-sumLen)]
	if !bytes.Equal(summed(bytes.Clone(body)), line) {
		return errors.New("it does not fit its sum")
	}
	return json.Unmarshal(line, rec)
}

// readLine returns a line with its newline; a line without one is as if it
// were not there: its write was cut short.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("%w: a line is too long", errDamaged)
		}
	}
}

// stamp is the Last-Modified of the next generation: whole seconds, as HTTP has
// them, and always later than the last, whatever the clock did, or clients
// would keep what they have.
func (j *journal) stamp() time.Time {
	now := time.Now().UTC().Truncate(time.Second)
	if next := j.modified.Truncate(time.Second).Add(time.Second); now.Before(next) {
		return next
	}
	return now
}

// notBefore has the next generation come after gen, made at the time at.
func (j *journal) notBefore(gen int64, at time.Time) {
	if j.gen = max(j.gen, gen); at.After(j.modified) {
		j.modified = at
	}
}

// lines is what commits records of one generation.
func (j *journal) lines(repo string, records []*Record) (journalLines, error) {
	var buf bytes.Buffer
	prev := j.prev
	for i, rec := range records {
		rec.Prev, rec.More = prev, i+1 < len(records)
		line, err := json.Marshal(rec)
		if err != nil {
			return journalLines{}, err
		}
		line = summed(line)
		buf.Write(line)
		prev = hashLine(line)
	}
	last := records[len(records)-1]
	after := &journal{path: j.path, gen: last.Gen, modified: last.Modified, prev: prev, end: j.end + int64(buf.Len())}
	return journalLines{Repo: repo, At: j.end, Lines: buf.String(), after: after}, nil
}

// write puts data at the offset at, behind the last committed line and over
// whatever an earlier write that failed may have left there.
func (j *journal) write(at int64, data []byte) error {
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, 0o660)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(at); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, at); err != nil {
		return err
	}
	if err := durable.Sync(f); err != nil || at > 0 {
		return err
	}
	return durable.SyncDir(filepath.Dir(j.path))
}

func hashLine(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
