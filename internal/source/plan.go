package source

import (
	"context"
	"maps"
	"slices"
	"strings"

	"serene/internal/alpm"
)

// A Resolver knows packages that could be built. An AUR is one. Any error ends
// the planning.
type Resolver interface {
	// Info describes the packages of these names that there are.
	Info(ctx context.Context, names ...string) ([]Pkg, error)
	// Providers describes the packages that satisfy a dependency on name.
	Providers(ctx context.Context, name string) ([]Pkg, error)
	// Members describes the packages of a base.
	Members(ctx context.Context, base string) ([]Pkg, error)
}

// A Step is a package base to build.
type Step struct {
	Base    string
	Version alpm.Version
	Names   []string // of its packages that are wanted, sorted
	After   []string // bases of the same plan that must be done first, sorted
	For     string   // the dependency it is built for, "" when it was asked for
}

// maxPlan is how many bases one plan may have. It is there for a graph somebody
// made to have no end; what people build has tens.
const maxPlan = 500

// Plan works out what has to be built for roots, which are names of packages or
// package bases, and returns it in an order in which it can be: every base once,
// after all that it depends on. Nothing is planned for a dependency that provided
// says is there. An unknown root is ErrNotFound; a dependency that nobody
// satisfies, that several do, or that leads back to where it came from is
// ErrDependency, told by name.
func Plan(ctx context.Context, r Resolver, roots []string, provided func(dep string) bool) ([]Step, error) {
	p := &planner{ctx: ctx, r: r, provided: provided, known: make(map[string]*Pkg), nodes: make(map[string]*node)}
	if err := p.roots(roots); err != nil {
		return nil, err
	}
	for len(p.open) > 0 {
		if err := p.round(); err != nil {
			return nil, err
		}
	}
	return p.order()
}

type planner struct {
	ctx      context.Context
	r        Resolver
	provided func(string) bool
	known    map[string]*Pkg // by name; nil when there is none
	nodes    map[string]*node
	open     []need
}

// node is a base of the plan.
type node struct {
	Step
	packages map[string]*Pkg
	after    map[string]string // bases, and the dependency on each
}

// need is a dependency that nothing is planned for yet.
type need struct {
	from  *node
	dep   alpm.Dep
	build bool // asked for by makepkg before it builds
}

func (p *planner) roots(names []string) error {
	if err := p.learn(names); err != nil {
		return err
	}
	for _, name := range names {
		pkgs, err := p.root(name)
		if err != nil {
			return err
		}
		if len(pkgs) == 0 {
			return errorf(ErrNotFound, "there is no package %s in the AUR", show(name))
		}
		for _, pkg := range pkgs {
			if _, err := p.add(pkg, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) root(name string) ([]*Pkg, error) {
	if pkg := p.known[name]; pkg != nil {
		return []*Pkg{pkg}, nil
	}
	members, err := p.r.Members(p.ctx, name)
	if err != nil {
		return nil, err
	}
	var pkgs []*Pkg
	for _, m := range members {
		pkgs = append(pkgs, &m)
	}
	return pkgs, nil
}

// learn asks for those of names that are not known, all at once.
func (p *planner) learn(names []string) error {
	var unknown []string
	for _, name := range names {
		if _, ok := p.known[name]; !ok {
			p.known[name] = nil
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	pkgs, err := p.r.Info(p.ctx, unknown...)
	for _, pkg := range pkgs {
		p.known[pkg.Name] = &pkg
	}
	return err
}

// round settles all open needs, and opens those of the packages it adds.
func (p *planner) round() error {
	needs := p.open
	p.open = nil
	var names []string
	for _, n := range needs {
		names = append(names, n.dep.Name)
	}
	if err := p.learn(names); err != nil {
		return err
	}
	for _, n := range needs {
		if err := p.settle(n); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) settle(n need) error {
	pkg, err := p.choose(n)
	if err != nil {
		return err
	}
	to, err := p.add(pkg, n.dep.String())
	switch {
	case err != nil:
		return err
	case to != n.from:
		n.from.after[to.Base] = n.dep.String()
	case n.build:
		return cycle([]string{to.Base, to.Base})
	}
	return nil
}

// add puts a package into the plan, under its base, and opens its needs.
func (p *planner) add(pkg *Pkg, why string) (*node, error) {
	n := p.nodes[pkg.Base]
	if n == nil {
		if len(p.nodes) == maxPlan {
			return nil, errorf(ErrDependency, "more than %d package bases would have to be built", maxPlan)
		}
		n = &node{
			Step:     Step{Base: pkg.Base, Version: pkg.Version, For: why},
			packages: make(map[string]*Pkg),
			after:    make(map[string]string),
		}
		p.nodes[pkg.Base] = n
	}
	if n.packages[pkg.Name] != nil {
		return n, nil
	}
	n.packages[pkg.Name] = pkg
	return n, p.needs(n, pkg)
}

func (p *planner) needs(n *node, pkg *Pkg) error {
	build := len(pkg.Depends)
	for i, text := range slices.Concat(pkg.Depends, pkg.MakeDepends, pkg.CheckDepends) {
		if p.provided(text) {
			continue
		}
		dep, err := alpm.ParseDep(text)
		if err != nil {
			return errorf(ErrDependency, "%s: %s", pkg.Name, err)
		}
		p.open = append(p.open, need{n, dep, i >= build})
	}
	return nil
}

// order sorts the plan so that what a base needs stands before it.
func (p *planner) order() ([]Step, error) {
	var steps []Step
	done := make(map[string]bool)
	var path []string
	var visit func(base string) error
	visit = func(base string) error {
		if done[base] {
			return nil
		}
		if i := slices.Index(path, base); i >= 0 {
			return cycle(append(path[i:], base))
		}
		path = append(path, base)
		n := p.nodes[base]
		n.After = slices.Sorted(maps.Keys(n.after))
		for _, dep := range n.After {
			if err := visit(dep); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		done[base] = true
		n.Names = slices.Sorted(maps.Keys(n.packages))
		steps = append(steps, n.Step)
		return nil
	}
	for _, base := range slices.Sorted(maps.Keys(p.nodes)) {
		if err := visit(base); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

func cycle(bases []string) error {
	return errorf(ErrDependency, "dependency cycle: %s", strings.Join(bases, " needs "))
}
