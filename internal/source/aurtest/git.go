package aurtest

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// gitHandler serves the bare repositories in dir as git's own CGI program does.
func gitHandler(dir string) (http.Handler, error) {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	return &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Dir:    dir,
		Env:    append(gitEnv(), "GIT_PROJECT_ROOT="+dir, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard,                 // "not found" and the like, which clients are told too
		Logger: log.New(io.Discard, "", 0), // clients that go away
	}, nil
}

// gitEnv keeps git from this machine's configuration.
func gitEnv() []string {
	return []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"}
}

// commit makes the files of p the next commit of its repository, which it
// creates when there is none.
func commit(dir string, p *Package) error {
	repo := filepath.Join(dir, p.Base+".git")
	fresh := false
	if _, err := os.Stat(repo); err != nil {
		fresh = true
		if err := git(nil, "init", "--quiet", "--bare", "--template=", "--initial-branch=master", "--", repo); err != nil {
			return err
		}
	}
	return git(stream(p, fresh), "--git-dir="+repo, "fast-import", "--quiet", "--force")
}

func git(stdin []byte, args ...string) error {
	cmd := exec.Command("git", args...)
	cmd.Env = append(gitEnv(), "PATH="+os.Getenv("PATH"))
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// stream writes a commit for git-fast-import(1). Its identity and time are fixed,
// so that the same files give the same commit.
func stream(p *Package, fresh bool) []byte {
	var b bytes.Buffer
	message := "update " + p.Base
	fmt.Fprintf(&b, "commit refs/heads/master\ncommitter Tester <tester@example.org> %d +0000\ndata %d\n%s\n", p.LastModified, len(message), message)
	if !fresh {
		b.WriteString("from refs/heads/master^0\n")
	}
	b.WriteString("deleteall\n")
	for _, path := range p.sortedPaths() {
		mode, data := "100644", p.Files[path]
		if executable(path) {
			mode = "100755"
		}
		if target, ok := p.Links[path]; ok {
			mode, data = "120000", target
		}
		fmt.Fprintf(&b, "M %s inline %s\ndata %d\n%s\n", mode, path, len(data), data)
	}
	return b.Bytes()
}
