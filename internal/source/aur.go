package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"serene/internal/alpm"
)

// AUR asks an AUR's RPC interface, version 5. Its answers are taken for what a
// stranger says: what does not parse, was not asked for or breaks a grammar is an
// error, never passed on. Methods may be called from several goroutines.
type AUR struct {
	URL     string        // base, without a slash at its end; https, or http of a loopback address
	Allow   Allow         // what URL may be besides
	HTTP    *http.Client  // nil for one of its own; redirects are never followed
	Timeout time.Duration // of one request; default 30 s
}

// Pkg is a package as the AUR describes it.
type Pkg struct {
	Name         string
	Base         string `json:"PackageBase"`
	Version      alpm.Version
	Description  string
	Maintainer   string // "" for an orphan
	OutOfDate    int64  // Unix seconds since when it is flagged; 0 when it is not
	LastModified int64  // Unix seconds
	Depends      []string
	MakeDepends  []string
	CheckDepends []string
	OptDepends   []string
	Provides     []string
}

const (
	maxAnswer  = 16 << 20 // bytes of an answer; 5000 packages, the AUR's own limit, have 3 MiB
	maxBatch   = 100      // names in one request
	maxQuery   = 4000     // bytes of its query; the AUR takes URIs of 4443
	maxSearch  = 200      // of what a search found, how many are looked at
	maxAURName = 255
)

// Ref says where the AUR has the PKGBUILD of a package base.
func (a *AUR) Ref(base string) Ref {
	return Ref{Kind: KindAUR, URL: a.URL + "/" + base + ".git", Base: base}
}

// Info describes the packages of these names, in as few requests as it can. Names
// nobody has are missing in what it returns, which is in order of names.
func (a *AUR) Info(ctx context.Context, names ...string) ([]Pkg, error) {
	found, faulty, err := a.info(ctx, names)
	if err == nil && faulty != nil {
		err = faulty
	}
	return found, err
}

// info returns apart what is wrong with one of the packages.
func (a *AUR) info(ctx context.Context, names []string) (found []Pkg, faulty, err error) {
	for _, batch := range batches(names) {
		pkgs, err := a.ask(ctx, "multiinfo", "/rpc/v5/info?"+url.Values{"arg[]": batch}.Encode())
		if err != nil {
			return nil, nil, err
		}
		for _, p := range pkgs {
			i := slices.Index(batch, p.Name)
			if i < 0 || p.Name == "" {
				return nil, nil, errorf(ErrRefused, "AUR: answered with %s, which was not asked for, or twice", show(p.Name))
			}
			batch[i] = ""
			if err := p.check(); err != nil {
				faulty = errorf(ErrRefused, "AUR: package %s: %s", show(p.Name), err)
				continue
			}
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(p, q Pkg) int { return strings.Compare(p.Name, q.Name) })
	return found, faulty, nil
}

// batches leaves out what cannot be a package's name: nobody has it.
func batches(names []string) (all [][]string) {
	var batch []string
	length := 0
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if alpm.ValidName(name) != nil || len(name) > maxAURName {
			continue
		}
		more := len("arg%5B%5D=&") + len(url.QueryEscape(name))
		if len(batch) == maxBatch || length+more > maxQuery {
			all, batch, length = append(all, batch), nil, 0
		}
		batch, length = append(batch, name), length+more
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}

// Providers describes the packages that provide name, by "provides" or because it
// is theirs. Of very many it looks at some only.
func (a *AUR) Providers(ctx context.Context, name string) ([]Pkg, error) {
	// Shared libraries are provided under names that no package has.
	if dep, err := alpm.ParseDep(name); err != nil || dep.Op != "" {
		return nil, nil
	}
	return a.search(ctx, name, "provides", func(p Pkg) bool {
		return alpm.Dep{Name: name}.SatisfiedBy(p.Name, p.Version, p.Provides)
	})
}

// Members describes the packages of a base that have its name in theirs. The AUR
// cannot be asked for a base by name.
func (a *AUR) Members(ctx context.Context, base string) ([]Pkg, error) {
	if alpm.ValidName(base) != nil {
		return nil, nil
	}
	return a.search(ctx, base, "name", func(p Pkg) bool { return p.Base == base })
}

// search asks for names and then what they are: the answer to a search tells
// neither dependencies nor what is provided. It is a list of strangers, so what
// is wrong with one of them says nothing of the others.
func (a *AUR) search(ctx context.Context, arg, by string, keep func(Pkg) bool) ([]Pkg, error) {
	if len(arg) < 2 { // the AUR takes no shorter ones
		return nil, nil
	}
	found, err := a.ask(ctx, "search", "/rpc/v5/search/"+url.PathEscape(arg)+"?by="+by)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range found {
		if by == "name" && p.Base != arg {
			continue
		}
		names = append(names, p.Name)
	}
	slices.Sort(names)
	pkgs, _, err := a.info(ctx, names[:min(len(names), maxSearch)])
	return slices.DeleteFunc(pkgs, func(p Pkg) bool { return !keep(p) }), err
}

// check holds a package to the grammars that the files it stands for have.
func (p *Pkg) check() error {
	for _, err := range []error{alpm.ValidName(p.Name), alpm.ValidName(p.Base), p.Version.Check()} {
		if err != nil {
			return err
		}
	}
	for _, d := range slices.Concat(p.Depends, p.MakeDepends, p.CheckDepends, p.Provides) {
		if _, err := alpm.ParseDep(d); err != nil {
			return err
		}
	}
	return nil
}

// answer is what every request is answered with.
type answer struct {
	Version     int    `json:"version"`
	Type        string `json:"type"`
	Error       string `json:"error"`
	ResultCount int    `json:"resultcount"`
	Results     []Pkg  `json:"results"`
}

// ask makes one request and returns the results of an answer of that type.
func (a *AUR) ask(ctx context.Context, want, path string) ([]Pkg, error) {
	timeout := a.Timeout
	or(&timeout, 30*time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := a.get(ctx, path)
	if err != nil {
		return nil, err
	}
	return parseAnswer(body, want)
}

func parseAnswer(body []byte, want string) ([]Pkg, error) {
	var got answer
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, errorf(ErrUnavailable, "AUR: not the answer of an AUR: %v", err)
	}
	switch {
	case got.Type == "error":
		return nil, errorf(ErrUnavailable, "AUR: %s", show(got.Error))
	case got.Version != 5 || got.Type != want || got.ResultCount != len(got.Results):
		return nil, errorf(ErrRefused, "AUR: asked for %s, it answered with %s, version %d, %d of %d results", want, show(got.Type), got.Version, len(got.Results), got.ResultCount)
	}
	return got.Results, nil
}

func (a *AUR) get(ctx context.Context, path string) ([]byte, error) {
	if err := a.checkURL(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return nil, errorf(ErrRefused, "AUR: %s", err)
	}
	req.Header.Set("User-Agent", "serene")
	req.Header.Set("Accept", "application/json")
	resp, err := a.client().Do(req)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errorf(ErrUnavailable, "AUR: answered %s", show(resp.Status))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, unavailable(ctx, err)
	case len(body) > maxAnswer:
		return nil, errorf(ErrTooLarge, "AUR: answered with more than %d bytes", maxAnswer)
	}
	return body, nil
}

// unavailable keeps our own end apart from the AUR's: a caller that gave up need
// not try again later.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return fmt.Errorf("AUR: %w", context.Cause(ctx))
	}
	return errorf(ErrUnavailable, "AUR: %s", err)
}

func (a *AUR) checkURL() error {
	u, err := url.Parse(a.URL)
	if err != nil {
		return errorf(ErrRefused, "AUR: %s is not a URL", show(a.URL))
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return errorf(ErrRefused, "AUR: %s: it speaks https", show(u.Redacted()))
	}
	return a.Allow.check(a.URL + "/") // an empty path is none
}

// client never follows a redirect: the AUR makes none, and what answers in its
// place should be seen.
func (a *AUR) client() *http.Client {
	c := http.Client{}
	if a.HTTP != nil {
		c = *a.HTTP
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}
