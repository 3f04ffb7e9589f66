package receive

// jobVerbs are the verbs about builds.
func jobVerbs() []verb {
	build1 := []string{groupBuild}
	look := []string{groupRead, groupBuild}
	return []verb{
		{name: "build", synopsis: "PKGBASE… | --git URL [--branch B] [--path P] | - [-f|--follow] [--clean] [--network N] [--no-deps] [--repo R] [--arch A] [--json]",
			help:  "build packages of the AUR, of a git repository, or with - a tar of a PKGBUILD's directory on stdin",
			flags: "git= branch= path= follow clean network= no-deps repo= arch= json", groups: build1, run: build},
		{name: "jobs", synopsis: "[PKGBASE…] [--all] [--repo R] [--json]",
			help:  "list the builds that are not over, and the last ones that are",
			flags: "all repo= json", groups: look, run: jobs},
		{name: "log", synopsis: "JOB|PKGBASE [-f|--follow] [--json]",
			help:  "print what a build has printed, or follow it",
			flags: "follow json", groups: look, run: logOf},
		{name: "cancel", synopsis: "JOB|PKGBASE… [--json]",
			help:  "end builds",
			flags: "json", groups: build1, run: cancel},
		{name: "retry", synopsis: "JOB|PKGBASE… [--publish] [-f|--follow] [--json]",
			help:  "take builds up again that came to nothing",
			flags: "publish follow json", groups: build1, run: retry},
		{name: "explain", synopsis: "PKGBASE|JOB [--json]",
			help:  "say why a package is where it is: asked for, waiting, failed, published",
			flags: "json", groups: look, run: explain},
	}
}
