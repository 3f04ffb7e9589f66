package repo

import (
	"slices"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// upstream is a fixed set of packages.
type upstream []string

func (upstream) Known(string) bool         { return true }
func (u upstream) Has(_, name string) bool { return slices.Contains(u, name) }
func (u upstream) Satisfies(_ string, dep alpm.Dep) bool {
	return slices.ContainsFunc(u, func(name string) bool { return dep.SatisfiedBy(name, "5-1", nil) })
}

func info(key string, values ...string) []alpmtest.Option {
	var all []alpmtest.Option
	for _, v := range values {
		all = append(all, alpmtest.Info(key, v))
	}
	return all
}

func TestResultRules(t *testing.T) {
	shared := alpmtest.With(alpmtest.File("usr/bin/tool", "x"))
	for _, c := range []struct {
		name string
		have []pkg
		push pkg
		want string // in the only warning, "" for none
	}{
		{"upstream dependency", nil, build("a", "1-1", info("depend", "glibc>=5")...), ""},
		{"missing dependency", nil, build("a", "1-1", info("depend", "nothing")...), "needs nothing, which neither we nor upstream provide"},
		{"version too low", nil, build("a", "1-1", info("depend", "glibc>=6")...), "needs glibc>=6"},
		{"our dependency", []pkg{build("lib", "2-1")}, build("a", "1-1", info("depend", "lib>=2")...), ""},
		{"soname", []pkg{build("lib", "2-1", info("provides", "libx.so=1-64")...)}, build("a", "1-1", info("depend", "libx.so=1-64")...), ""},
		{"soname of before", []pkg{build("lib", "2-1", info("provides", "libx.so=2-64")...)}, build("a", "1-1", info("depend", "libx.so=1-64")...), "needs libx.so=1-64"},
		{"takes a soname away", []pkg{build("lib", "1-1", info("provides", "libx.so=1-64")...), build("app", "1-1", info("depend", "libx.so=1-64")...)},
			build("lib", "2-1", info("provides", "libx.so=2-64")...), "app needs libx.so=1-64, which nothing provides any more"},
		{"same file", []pkg{build("one", "1-1", shared)}, build("two", "1-1", shared), "usr/bin/tool is also in one"},
		{"same file in conflict", []pkg{build("one", "1-1", shared)}, build("two", "1-1", shared, alpmtest.Info("conflict", "one"), alpmtest.Base("one")), ""},
		{"same file, itself", []pkg{build("one", "1-1", shared)}, build("one", "1-2", shared), ""},
		{"replaces", nil, build("a", "1-1", info("replaces", "glibc")...), "replaces glibc"},
		{"granted", nil, build("a", "1-1", info("replaces", "granted-x")...), ""},
		{"own base", nil, build("a", "1-1", info("provides", "a-virtual=1")...), ""},
		{"conflicts with upstream", nil, build("a", "1-1", info("conflict", "glibc")...), "conflicts with glibc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, level := range []Level{Warn, Refuse, Off} {
				r := newTestRepo(t)
				if len(c.have) > 0 {
					r.push(c.have...)
				}
				r.specs[0].Rules = Rules{Depends: level, Files: level, Claims: level, Grants: []string{"granted-*"}}
				r.open()
				r.store.opt.Upstream = upstream{"glibc"}
				o := r.push(c.push)
				if refused := level == Refuse && c.want != ""; refused {
					if o.Class != "conflict" || !strings.Contains(o.Error, c.want) {
						t.Errorf("%s: %+v", level, o)
					}
					continue
				}
				if o.Error != "" || len(o.Receipts) != 1 {
					t.Fatalf("%s: %+v", level, o)
				}
				got := strings.Join(o.Receipts[0].Warnings, "; ")
				if warned := level != Off && c.want != ""; warned != (got != "") || !strings.Contains(got, c.want) && warned {
					t.Errorf("%s: warnings %q, want %q", level, got, c.want)
				}
			}
		})
	}
}
