package alpm

// BuildInfo is what .BUILDINFO says of the environment of a build.
type BuildInfo struct {
	Format         int // 1 or 2
	Name           string
	Base           string
	Version        Version
	Arch           string
	PkgbuildSHA256 string // lower hex
	Packager       string
	BuildDate      int64 // Unix seconds
	BuildDir       string
	StartDir       string // format 2, as are the next two
	BuildTool      string
	BuildToolVer   string
	BuildEnv       []string
	Options        []string
	Installed      []string // NAME-VERSION-ARCH of everything in the build root
}

// ParseBuildInfo reads the content of .BUILDINFO, format 1 or 2, as strictly as
// [ParsePkgInfo]. The error is a *Fault.
func ParseBuildInfo(b []byte) (*BuildInfo, error) {
	p := new(BuildInfo)
	var format int64
	fields := append(p.fields(), field{key: "format", number: &format, required: true})
	if err := parseFields(b, ".BUILDINFO", KindBuildInfo, fields); err != nil {
		return nil, err
	}
	if format != 1 && format != 2 {
		return nil, faultf(KindBuildInfo+KindValue, ".BUILDINFO", ".BUILDINFO: format %d: want 1 or 2", format)
	}
	p.Format = int(format)
	if p.Base == "" {
		p.Base = p.Name
	}
	return p, nil
}

func (p *BuildInfo) fields() []field {
	return []field{
		{key: "pkgname", text: &p.Name, check: ValidName, required: true},
		{key: "pkgbase", text: &p.Base, check: ValidName},
		{key: "pkgver", text: (*string)(&p.Version), check: checkVersion, required: true},
		{key: "pkgarch", text: &p.Arch, check: validArch, required: true},
		{key: "pkgbuild_sha256sum", text: &p.PkgbuildSHA256, check: checkHex256, required: true},
		{key: "packager", text: &p.Packager, required: true},
		{key: "builddate", number: &p.BuildDate, required: true},
		{key: "builddir", text: &p.BuildDir, required: true},
		{key: "startdir", text: &p.StartDir},
		{key: "buildtool", text: &p.BuildTool},
		{key: "buildtoolver", text: &p.BuildToolVer},
		{key: "buildenv", list: &p.BuildEnv},
		{key: "options", list: &p.Options},
		{key: "installed", list: &p.Installed},
	}
}

// agree compares what .BUILDINFO and .PKGINFO both say.
func (p *BuildInfo) agree(info *PkgInfo) error {
	for _, pair := range []struct{ key, build, pkg string }{
		{"pkgname", p.Name, info.Name},
		{"pkgbase", p.Base, info.Base},
		{"pkgver", string(p.Version), string(info.Version)},
		{"pkgarch", p.Arch, info.Arch},
		{"packager", p.Packager, info.Packager},
	} {
		if pair.build != pair.pkg {
			return faultf(KindBuildInfoMismatch, ".BUILDINFO", ".BUILDINFO: %s is %s, .PKGINFO has %s", pair.key, show(pair.build), show(pair.pkg))
		}
	}
	if p.BuildDate != info.BuildDate {
		return faultf(KindBuildInfoMismatch, ".BUILDINFO", ".BUILDINFO: builddate is %d, .PKGINFO has %d", p.BuildDate, info.BuildDate)
	}
	return nil
}
