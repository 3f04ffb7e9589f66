# One entry for people and for CI. `make` alone lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build install up check test test-faults vuln fuzz bench clean

FUZZTIME ?= 30s
PREFIX ?= /usr/local
DESTDIR ?=
UP_ONCE ?=
export UP_ONCE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: ## install what building and testing need (Debian: apt, Arch: pacman)
	@internal/dev/setup --quiet

build: ## the daemons, static, into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

# Built beforehand, by who is not root: installing compiles nothing.
install: ## copy bin/ and the systemd files below PREFIX (/usr/local)
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin bin/serene-build bin/serene-receive bin/serene-serve
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/*.service systemd/*.socket
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/sysusers.d systemd/sysusers.d/serene.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d systemd/tmpfiles.d/serene.conf

up: setup build ## try it: a repository on loopback, state in ./var; Ctrl-C stops it
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./internal/dev/up
	@exec bin/up

check: ## gofmt, go vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$bad" || { echo "not gofmt'd:" $$bad; exit 1; }
	go vet ./...
	go tool staticcheck ./...

test: setup check ## every test, with the race detector; a skipped one fails
	go test -race -count=1 -timeout 30m -json ./... | go run ./internal/dev/tally
	@internal/dev/peers

test-faults: setup ## every injected fault of docs/crash-safety.md, a quarter of an hour
	FAULTS=full go test -count=1 -timeout 60m -run 'Faults' ./internal/repo

vuln: ## govulncheck, where its database can be reached
	go run golang.org/x/vuln/cmd/govulncheck@latest ./...

fuzz: ## every fuzz target for FUZZTIME (30s) each
	@internal/dev/fuzz $(FUZZTIME)

bench: setup build ## benchmarks; a 1 GiB push against scp, a build against makepkg
	go test -run '^$$' -bench . -benchmem ./...
	go run ./internal/bench

clean: ## remove bin/ and var/
	rm -rf bin var
