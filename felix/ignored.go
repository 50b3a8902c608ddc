package felix

import (
	"log/slog"
	"slices"

	"github.com/maneki-net/maneki/felix/config"
)

// ignored is what is asked for on this node and does not happen.
type ignored struct {
	// unprotected is what settings ask for to protect, and is not there: an error of the node.
	unprotected []string
	// settings are other settings that have no effect, cannot be read, or are hidden by the process's own.
	settings []string
	// cni are keys of the CNI configuration without effect.
	cni []string
}

// ignoredOf returns what of the sources does not happen. problem is what Resolve says of them.
func ignoredOf(problem error, sources []config.Source) ignored {
	missing := config.MissingOf(sources...)
	i := ignored{unprotected: missing.Protection, settings: append(config.Hidden(sources...), missing.Others...)}
	if problem != nil {
		i.settings = append(i.settings, problem.Error())
	}
	return i
}

// replace takes in what settings ask for, and logs what is new.
func (i *ignored) replace(next ignored, log *slog.Logger) {
	if len(next.unprotected) > 0 && !slices.Equal(next.unprotected, i.unprotected) {
		log.Error("settings ask for protection that is not there", "settings", next.unprotected)
	}
	if len(next.settings) > 0 && !slices.Equal(next.settings, i.settings) {
		log.Warn("settings have no effect on this node", "settings", next.settings)
	}
	i.unprotected, i.settings = next.unprotected, next.settings
}
