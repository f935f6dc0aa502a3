package daemon

import "runtime/debug"

// Version is set by the build (-ldflags -X).
var Version = "dev"

// Revision returns the commit that the program was built from, "" where the build did not record it.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
