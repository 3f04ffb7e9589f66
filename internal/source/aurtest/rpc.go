package aurtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// result is a package in an answer, as aurweb writes it.
type result struct {
	ID             int
	Name           string
	PackageBaseID  int
	PackageBase    string
	Version        alpm.Version
	Description    string
	URL            string
	NumVotes       int
	Popularity     float64
	OutOfDate      *int64
	Maintainer     *string
	FirstSubmitted int64
	LastModified   int64
	URLPath        string

	Depends      []string `json:",omitempty"`
	MakeDepends  []string `json:",omitempty"`
	CheckDepends []string `json:",omitempty"`
	OptDepends   []string `json:",omitempty"`
	Provides     []string `json:",omitempty"`
	Conflicts    []string `json:",omitempty"`
	Replaces     []string `json:",omitempty"`
	Groups       []string `json:",omitempty"`
	License      []string `json:",omitempty"`
}

// rpc answers /rpc/v5/info, /rpc/v5/info/NAME, /rpc/v5/search/WORD, and the older
// form with all in the query or in a posted form: v, type, by, arg, arg[].
func (s *Server) rpc(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kind, args := r.Form.Get("type"), slices.Concat(r.Form["arg[]"], r.Form["arg"])
	version := r.Form.Get("v")
	if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/rpc/v5/"); ok {
		word := ""
		version = "5"
		kind, word, _ = strings.Cut(rest, "/")
		if word, err := url.PathUnescape(word); err == nil && word != "" {
			args = append(args, word)
		}
	}
	var results []result
	switch {
	case version != "5":
		answer(w, "error", nil, "Invalid version specified.")
		return
	case len(args) == 0:
		answer(w, "error", nil, "No request type/data specified.")
		return
	case kind == "info" || kind == "multiinfo":
		kind = "multiinfo"
		results = s.find(true, func(p result) bool { return slices.Contains(args, p.Name) })
	case kind == "search" && len(args[0]) < 2:
		answer(w, "error", nil, "Query arg too small.")
		return
	case kind == "search":
		results = s.search(r.Form.Get("by"), args[0])
	default:
		answer(w, "error", nil, "Incorrect request type specified.")
		return
	}
	answer(w, kind, results, "")
}

func answer(w http.ResponseWriter, kind string, results []result, fault string) {
	if results == nil {
		results = []result{}
	}
	a := map[string]any{"version": 5, "type": kind, "resultcount": len(results), "results": results}
	if fault != "" {
		a["error"] = fault
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(a)
}

func (s *Server) search(by, word string) []result {
	return s.find(false, func(p result) bool {
		switch by {
		case "provides":
			return alpm.Dep{Name: word}.SatisfiedBy(p.Name, p.Version, p.Provides)
		case "name":
			return strings.Contains(p.Name, word)
		default:
			return strings.Contains(p.Name, word) || strings.Contains(p.Description, word)
		}
	})
}

// find returns the packages that want lets through. Without details they are as
// a search has them.
func (s *Server) find(details bool, want func(result) bool) []result {
	var found []result
	for i, e := range s.entries() {
		for j := range e.info.Packages {
			p := e.result(&e.info.Packages[j])
			p.ID, p.PackageBaseID = 1000*i+j+1, i+1
			if !want(p) {
				continue
			}
			if !details {
				p.Depends, p.MakeDepends, p.CheckDepends, p.OptDepends, p.Provides = nil, nil, nil, nil, nil
				p.Conflicts, p.Replaces, p.Groups, p.License = nil, nil, nil, nil
			}
			found = append(found, p)
		}
	}
	return found
}

func (e *entry) result(p *alpm.SrcPackage) result {
	r := result{
		Name: p.Name, PackageBase: e.info.Base, Version: e.info.FullVersion(), Description: p.Desc, URL: p.URL,
		FirstSubmitted: 1_500_000_000, LastModified: e.LastModified, URLPath: "/cgit/aur.git/snapshot/" + e.info.Base + ".tar.gz",
		Depends: everywhere(p.Depends), OptDepends: everywhere(p.OptDepends), Provides: everywhere(p.Provides),
		Conflicts: everywhere(p.Conflicts), Replaces: everywhere(p.Replaces), Groups: p.Groups, License: p.Licenses,
		MakeDepends: everywhere(e.info.MakeDepends), CheckDepends: everywhere(e.info.CheckDepends),
	}
	if e.OutOfDate != 0 {
		r.OutOfDate = &e.OutOfDate
	}
	switch e.Maintainer {
	case "-":
	case "":
		name := "tester"
		r.Maintainer = &name
	default:
		r.Maintainer = &e.Maintainer
	}
	return r
}

// everywhere merges the values of all architectures, as the AUR does.
func everywhere(l alpm.ArchList) []string {
	var all []string
	for _, values := range l {
		all = append(all, values...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
