package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"serene/internal/repo"
)

// published is what may be served; *repo.Store is it. Names are checked there,
// too: what is not published is repo.ErrNotFound, whatever the name looks like.
type published interface {
	Default() repo.Spec
	View(repo, arch string) (*repo.View, error)
	OpenStaged(token, repo, arch, file string) (*os.File, error)
	OpenFile(repo, arch, file string) (*os.File, error)
	OpenGen(repo, arch string, gen int64, file string) (*os.File, error)
	PublicKey() (armored []byte, fingerprint string, err error)
}

// How long clients and caches between may keep an answer: what is immutable for
// ever, what names the current generation not without asking again.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
	cachePrivate = "private, no-store"
)

// site answers the requests of pacman and of people with curl.
type site struct {
	store   published
	gens    *genCache
	log     *slog.Logger
	figures *figures
}

// ServeHTTP is the whole public surface: GET and HEAD of what route knows.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := newResponse(w, r)
	s.answer(out, r)
	s.figures.answered(out.status)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", out.status, "bytes", out.sent,
			"took", time.Since(began), "remote", r.RemoteAddr, "agent", r.UserAgent())
	}
}

func (s *site) answer(w *response, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	err := s.route(w, r)
	switch {
	case err == nil:
	case errors.Is(err, repo.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		fail(w, http.StatusNotFound)
	case errors.Is(err, repo.ErrBusy):
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable)
	default:
		s.log.Error("request failed", "path", r.URL.Path, "err", err)
		fail(w, http.StatusInternalServerError)
	}
}

// fail answers with the words of the status alone: an answer does not repeat
// what was asked, nor say what is on the disk.
func fail(w *response, status int) {
	w.Header().Set("Cache-Control", cacheNever)
	http.Error(w, http.StatusText(status), status)
}

// errNoRoute is a path nothing can ever be at.
var errNoRoute = fmt.Errorf("%w: no such path", repo.ErrNotFound)

// route answers the request, or returns an error with nothing written. The path
// is the decoded one, so "%2B" and "+" are the same; each of its segments is a
// name, and none may be empty or begin with a dot.
func (s *site) route(w *response, r *http.Request) error {
	switch r.URL.Path {
	case "/":
		return s.welcome(w, r)
	case "/key.asc":
		return s.key(w, r)
	}
	seg := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	for _, name := range seg {
		if name == "" || name[0] == '.' {
			return errNoRoute
		}
	}
	if len(seg) == 5 && seg[0] == "stage" && seg[2] != "gen" {
		return s.staged(w, r, seg[1], seg[2], seg[3], seg[4])
	}
	if len(seg) == 2 || len(seg) == 4 { // /ARCH/… is the default repository's
		seg = append([]string{s.store.Default().Name}, seg...)
	}
	switch {
	case len(seg) == 3:
		return s.file(w, r, seg[0], seg[1], seg[2])
	case len(seg) == 5 && seg[2] == "gen":
		n, err := genNumber(seg[3])
		if err != nil {
			return err
		}
		return s.pinned(w, r, genFile{seg[0], seg[1], n, seg[4]})
	}
	return errNoRoute
}

func (s *site) welcome(w *response, r *http.Request) error {
	const text = "A pacman repository. `ssh HOST setup` prints the lines for pacman.conf.\n"
	w.describe("text/plain; charset=utf-8", cacheNever)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	return nil
}

func (s *site) key(w *response, r *http.Request) error {
	armored, _, err := s.store.PublicKey()
	if err != nil {
		return err
	}
	w.describe("application/pgp-keys", cacheNever)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(armored))
	return nil
}

// file serves /R/ARCH/FILE: a redirect for a database, and the bytes of
// everything else.
func (s *site) file(w *response, r *http.Request, name, arch, file string) error {
	switch inGen := repo.GenFile(file); inGen {
	case name + ".db", name + ".files":
		return s.redirect(w, r, name, arch, inGen)
	case name + ".db.sig", name + ".files.sig":
		v, err := s.store.View(name, arch)
		if err != nil {
			return err
		}
		return s.generation(w, r, genFile{name, arch, v.Gen, inGen}, cacheNever)
	}
	f, err := s.store.OpenFile(name, arch, file)
	if err != nil {
		return err
	}
	return sendFile(w, r, f, file, cacheForever)
}

// sendFile answers with f, and closes it.
func sendFile(w *response, r *http.Request, f *os.File, name, cache string) error {
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	w.describe(contentType(name), cache)
	http.ServeContent(w, r, "", st.ModTime(), f)
	return nil
}

// pinned serves /R/ARCH/gen/N/FILE. Beside the databases of the generation there
// is every package, so that the directory is a repository that stays as it was:
// "Server = …/R/ARCH/gen/N".
func (s *site) pinned(w *response, r *http.Request, file genFile) error {
	switch inGen := strings.TrimSuffix(repo.GenFile(file.name), ".sig"); inGen {
	case file.repo + ".db", file.repo + ".files":
		file.name = repo.GenFile(file.name)
		return s.generation(w, r, file, cacheForever)
	}
	there, err := s.store.OpenGen(file.repo, file.arch, file.gen, file.repo+".db.sig")
	if err != nil {
		return err
	}
	there.Close()
	return s.file(w, r, file.repo, file.arch, file.name)
}

// staged serves /stage/TOKEN/R/ARCH/FILE to whoever was told the token. Nothing
// keeps it, because the set ends when it is published or dropped.
func (s *site) staged(w *response, r *http.Request, token, name, arch, file string) error {
	f, err := s.store.OpenStaged(token, name, arch, file)
	if err != nil {
		return err
	}
	r.Header.Del("If-Modified-Since") // a set is older than what is published, and yet news
	return sendFile(w, r, f, file, cachePrivate)
}

// redirect sends the client from a database's name to that database in the
// current generation. pacman then asks for the signature beside the target, so
// the pair is of one generation whatever is published in between. It does so
// only if the last segment of the target is the database's own name.
func (s *site) redirect(w *response, r *http.Request, name, arch, file string) error {
	v, err := s.store.View(name, arch)
	if err != nil {
		return err
	}
	if v.Gen == 0 {
		return fmt.Errorf("%w: nothing is published in %s/%s", repo.ErrNotFound, name, arch)
	}
	dir, _ := path.Split(r.URL.Path)
	target := url.URL{Path: fmt.Sprintf("%sgen/%d/%s", dir, v.Gen, file)}
	w.Header().Set("Cache-Control", cacheNever)
	w.Header().Set("Location", target.EscapedPath())
	w.WriteHeader(http.StatusFound)
	return nil
}

// generation serves a file of a generation, out of memory where it fits: the
// few files every client asks for are small.
func (s *site) generation(w *response, r *http.Request, file genFile, cache string) error {
	content, err := s.gens.get(file, s.store.OpenGen)
	if err != nil {
		return err
	}
	defer content.Close()
	w.describe(contentType(file.name), cache)
	http.ServeContent(w, r, "", content.at, content)
	return nil
}

// genNumber reads a generation's number in its one spelling.
func genNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != s {
		return 0, errNoRoute
	}
	return n, nil
}

// contentType never names a compression: what is served is the compressed file
// itself, and a Content-Encoding would have clients unpack it.
func contentType(file string) string {
	if strings.HasSuffix(file, ".sig") {
		return "application/pgp-signature"
	}
	return "application/octet-stream"
}
