package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"serene/internal/source/aurtest"
)

func nothing(string) bool { return false }

// planText writes a plan as "BASE(NAMES)<AFTER ...".
func planText(steps []Step) string {
	var all []string
	for _, s := range steps {
		text := s.Base
		if names := strings.Join(s.Names, ","); names != s.Base {
			text += "(" + names + ")"
		}
		if len(s.After) > 0 {
			text += "<" + strings.Join(s.After, ",")
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestPlan(t *testing.T) {
	s := aurtest.New(t,
		aurtest.Simple("app", "1-1", "depends = lib>=2", "makedepends = tool"),
		aurtest.Simple("lib", "2-1", "depends = base-lib", "depends = glibc"),
		aurtest.Simple("base-lib", "1-1", "makedepends = tool"),
		aurtest.Simple("tool", "1-1", "checkdepends = leaf"),
		aurtest.Simple("leaf", "1-1"),
		aurtest.Simple("other", "1-1", "depends = app", "depends = leaf"),
		aurtest.Simple("old", "1-1", "depends = leaf>=5"),
		aurtest.Simple("virtual", "1-1", "depends = engine>=2"),
		aurtest.Simple("gl-app", "1-1", "depends = libsuite.so", "depends = suite-tools"),
		aurtest.Simple("vague", "1-1", "depends = service"),
		aurtest.Simple("service-a", "1-1", "provides = service"),
		aurtest.Simple("service-b", "1-1", "provides = service"),
		aurtest.Simple("release", "1-1", "depends = fresh"),
		aurtest.Simple("fresh-one", "1-1", "provides = fresh"),
		aurtest.Simple("fresh-one-git", "1-1", "provides = fresh"),
		aurtest.Simple("ring-a", "1-1", "depends = ring-b"),
		aurtest.Simple("ring-b", "1-1", "makedepends = ring-c"),
		aurtest.Simple("ring-c", "1-1", "depends = ring-a"),
		aurtest.Simple("selfish", "1-1", "makedepends = selfish"),
		aurtest.Simple("lost", "1-1", "depends = lib", "depends = never-heard-of"),
		split,
	)
	repository := func(dep string) bool { return dep == "glibc" || dep == "cmake" }
	for _, c := range []struct {
		roots, want string
		class       error
	}{
		{roots: "leaf", want: "leaf"},
		{roots: "app", want: "leaf tool<leaf base-lib<tool lib<base-lib app<lib,tool"},
		{roots: "other app leaf", want: "leaf tool<leaf base-lib<tool lib<base-lib app<lib,tool other<app,leaf"},
		{roots: "suite-tools", want: "suite(suite-libs,suite-tools)"},
		{roots: "suite", want: "suite(suite-libs,suite-tools)"},
		{roots: "virtual", want: "suite(suite-libs) virtual<suite"},
		{roots: "gl-app", want: "suite(suite-libs,suite-tools) gl-app<suite"},
		{roots: "release", want: "fresh-one release<fresh-one"},
		{roots: "vague service-b", want: "service-b vague<service-b"},
		{roots: "vague", want: "vague depends on service, which several packages provide: service-a, service-b; build one of them first, or with it", class: ErrDependency},
		{roots: "old", want: "old depends on leaf>=5; the AUR has version 1-1", class: ErrDependency},
		{roots: "lost", want: "lost depends on never-heard-of, which is in no repository here and not in the AUR", class: ErrDependency},
		{roots: "ring-b", want: "dependency cycle: ring-a needs ring-b needs ring-c needs ring-a", class: ErrDependency},
		{roots: "selfish", want: "dependency cycle: selfish needs selfish", class: ErrDependency},
		{roots: "leaf nobody", want: "there is no package nobody in the AUR", class: ErrNotFound},
		{roots: "../x", want: "there is no package ../x in the AUR", class: ErrNotFound},
	} {
		steps, err := Plan(t.Context(), &AUR{URL: s.URL}, strings.Fields(c.roots), repository)
		got := planText(steps)
		if err != nil {
			got = err.Error()
		}
		if got != c.want || !errors.Is(err, c.class) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.roots, got, c.want)
		}
	}
}

// What is published already is not built again, and its needs are not asked for.
func TestPlanLeavesOutWhatIsProvided(t *testing.T) {
	s := aurtest.New(t, aurtest.Simple("app", "1-1", "depends = lib"), aurtest.Simple("lib", "1-1", "depends = never-heard-of"))
	steps, err := Plan(t.Context(), &AUR{URL: s.URL}, []string{"app"}, func(dep string) bool { return dep == "lib" })
	if got := planText(steps); err != nil || got != "app" {
		t.Error(got, err)
	}
}

// The number of requests grows with the depth of the graph, not with its width.
func TestPlanAsksInBatches(t *testing.T) {
	var all []aurtest.Package
	var deps []string
	for i := range 40 {
		name := fmt.Sprintf("wide-%02d", i)
		all, deps = append(all, aurtest.Simple(name, "1-1", "depends = bottom")), append(deps, "depends = "+name)
	}
	s := aurtest.New(t, append(all, aurtest.Simple("top", "1-1", deps...), aurtest.Simple("bottom", "1-1"))...)
	steps, err := Plan(t.Context(), &AUR{URL: s.URL}, []string{"top"}, nothing)
	if err != nil || len(steps) != 42 || steps[0].Base != "bottom" || steps[41].Base != "top" {
		t.Fatal(planText(steps), err)
	}
	if n := len(s.Requests()); n != 3 {
		t.Errorf("%d requests for three levels: %q", n, s.Requests())
	}
}

// endless makes up packages as they are asked for.
type endless struct{ Resolver }

func (endless) Info(_ context.Context, names ...string) ([]Pkg, error) {
	var all []Pkg
	for _, n := range names {
		all = append(all, Pkg{Name: n, Base: n, Version: "1-1", Depends: []string{n + "x"}})
	}
	return all, nil
}

func TestPlanHasAnEnd(t *testing.T) {
	_, err := Plan(t.Context(), endless{}, []string{"a"}, nothing)
	wantClass(t, err, ErrDependency)
}
