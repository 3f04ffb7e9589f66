package config

import (
	"fmt"
	"slices"
	"strings"
)

// check compares keys with each other, and asks of each what its type alone
// cannot know. It runs on a complete configuration.
func (c *Config) check() *Error {
	for _, check := range []func() *Error{
		c.checkRepos, c.checkListeners, c.checkTLS, c.checkURLs, c.checkLimits, c.checkQueue,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// refuse is the error of a key whose value is well formed but cannot stand.
func refuse(key, value, accepts string) *Error {
	return &Error{Key: key, Reason: (&valueError{value, accepts}).Error()}
}

func (c *Config) checkRepos() *Error {
	seen := map[RepoName]bool{}
	for i, r := range c.Repos {
		key := fmt.Sprintf("repo[%d].name", i)
		switch {
		case r.Name == "":
			return refuse(key, "", "a name: every [[repo]] needs one")
		case seen[r.Name]:
			return refuse(key, string(r.Name), "a name no other [[repo]] has")
		}
		seen[r.Name] = true
		if twice(r.Arches) {
			return refuse(fmt.Sprintf("repo[%d].arches", i), fmt.Sprint(r.Arches), "each architecture once")
		}
	}
	for i, r := range c.Repos {
		stem, ok := strings.CutSuffix(string(r.Name), "-debug")
		if ok && seen[RepoName(stem)] {
			return refuse(fmt.Sprintf("repo[%d].name", i), string(r.Name),
				fmt.Sprintf("another name: this one is where debug packages of %q go", stem))
		}
	}
	return nil
}

// twice reports whether an element of s stands there more than once.
func twice(s []Arch) bool {
	s = slices.Sorted(slices.Values(s))
	return len(slices.Compact(s)) < len(s)
}

func (c *Config) checkListeners() *Error {
	const accepts = `an address such as ":2222"; this one cannot be off`
	switch {
	case c.Receive.Listen == "":
		return refuse("receive.listen", "", accepts)
	case c.Serve.Listen == "":
		return refuse("serve.listen", "", accepts)
	}
	return nil
}

func (c *Config) checkTLS() *Error {
	s := &c.Serve
	switch {
	case s.ACMEDomain != "" && s.TLSCert != "":
		return refuse("serve.tls_cert", string(s.TLSCert), "nothing while serve.acme_domain is set")
	case s.ACMEDomain != "" && s.TLSKey != "":
		return refuse("serve.tls_key", string(s.TLSKey), "nothing while serve.acme_domain is set")
	case s.TLSCert != "" && s.TLSKey == "":
		return refuse("serve.tls_key", "", "the key file of serve.tls_cert, which is set")
	case s.TLSKey != "" && s.TLSCert == "":
		return refuse("serve.tls_cert", "", "the certificate file of serve.tls_key, which is set")
	}
	return nil
}

func (c *Config) checkURLs() *Error {
	web := []string{"http", "https"}
	for _, u := range []struct {
		key     string
		url     URL
		schemes []string
	}{
		{"serve.url", c.Serve.URL, web},
		{"aur.url", c.AUR.URL, web},
		{"build.hub", c.Build.Hub, []string{"ssh"}},
		{"build.docker", c.Build.Docker, []string{"unix", "tcp", "ssh", "http", "https", ""}},
	} {
		if !slices.Contains(u.schemes, u.url.scheme()) {
			return refuse(u.key, string(u.url), "a URL that begins with "+alternatives(u.schemes))
		}
	}
	return nil
}

// alternatives words schemes as `ssh://` or `http:// or https://`.
func alternatives(schemes []string) string {
	var words []string
	for _, s := range schemes {
		if s != "" {
			words = append(words, s+"://")
		}
	}
	return strings.Join(words, " or ")
}

func (c *Config) checkQueue() *Error {
	n := fmt.Sprint(c.Queue.Replicas)
	switch {
	case c.Queue.Replicas > 5:
		return refuse("queue.replicas", n, "a whole number from 1 to 5")
	case c.Queue.Replicas > 1 && c.Queue.URL == "":
		return refuse("queue.replicas", n, "1 while queue.url is not set")
	}
	return nil
}

// checkLimits refuses limits under which nothing could be done at all.
func (c *Config) checkLimits() *Error {
	for _, s := range []struct {
		key  string
		size Size
	}{
		{"receive.max_package", c.Receive.MaxPackage},
		{"build.memory", c.Build.Memory},
		{"build.disk", c.Build.Disk},
		{"build.log_max", c.Build.LogMax},
	} {
		if s.size == 0 {
			return refuse(s.key, s.size.String(), "a size above zero")
		}
	}
	if c.Serve.MaxDelay < c.Serve.Debounce {
		return refuse("serve.max_delay", c.Serve.MaxDelay.String(),
			"a duration not below serve.debounce, which is "+c.Serve.Debounce.String())
	}
	return nil
}
