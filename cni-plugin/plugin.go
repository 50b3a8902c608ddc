// Package cniplugin is the CNI plugin that the container runtime executes. It checks what
// the runtime gave it, opens the pod's network namespace and passes both to Felix over a unix socket;
// Felix does the work. A DEL that Felix does not answer is left in a spool directory.
//
// It never talks to Kubernetes or the datastore and never touches the network. It links
// nothing but the standard library: the binary is executed twice for each pod, so its
// size and start-up time are paid by every pod. One goroutine; Main runs it to the end.
package cniplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/maneki-net/maneki/api/build"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

const usage = `calico is Maneki's CNI plugin. The container runtime executes it with CNI_COMMAND
set and a network configuration on standard input. By hand:

  calico install     copy the plugin and its configuration onto the host (the init container does this)
  calico uninstall   remove both
  calico version     print the release
`

// Main runs the plugin and gives its exit code. args[0] is the program; getenv is os.Getenv.
// A CNI result, or error object, goes to stdout, everything else to stderr.
func Main(args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	if command := getenv("CNI_COMMAND"); command != "" {
		return runCNI(command, getenv, stdin, stdout)
	}
	var subcommand string
	if len(args) == 2 {
		subcommand = args[1]
	}
	var err error
	switch subcommand {
	case "install":
		for _, said := range IgnoredVariables(getenv) {
			fmt.Fprintf(stderr, "calico install: %s\n", said)
		}
		err = Install(HostPathsFrom(getenv), getenv("CNI_NETWORK_CONFIG"))
	case "uninstall":
		err = Uninstall(HostPathsFrom(getenv))
	case "version", "--version", "-v":
		fmt.Fprintln(stdout, build.Version())
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintf(stderr, "calico %s: %v\n", subcommand, err)
		return 1
	}
	return 0
}

// maxConfig bounds the network configuration, in octets.
const maxConfig = 1 << 20

func runCNI(command string, getenv func(string) string, stdin io.Reader, stdout io.Writer) int {
	version := newestVersion
	raw, err := io.ReadAll(io.LimitReader(stdin, maxConfig+1))
	if err == nil && len(raw) > maxConfig {
		err = &protocol.Error{Code: protocol.CodeDecode,
			Msg: fmt.Sprintf("network configuration is larger than %d octets", maxConfig)}
	}
	var output []byte
	if err == nil {
		if asked := askedVersion(raw); isSupported(asked) {
			version = asked
		}
		output, err = answer(command, getenv, raw, version)
	}
	if err != nil {
		writeError(stdout, version, err)
		return 1
	}
	if _, err := stdout.Write(output); err != nil {
		return 1
	}
	return 0
}

func answer(command string, getenv func(string) string, raw []byte, version string) ([]byte, error) {
	if command == "VERSION" {
		return json.Marshal(map[string]any{"cniVersion": version, "supportedVersions": supportedVersions})
	}
	request, config, err := parse(command, getenv, raw)
	if err != nil {
		return nil, err
	}
	return forward(request, config)
}

// writeError prints a CNI error object in the version of the request.
func writeError(w io.Writer, version string, err error) {
	var object *protocol.Error
	if !errors.As(err, &object) {
		object = &protocol.Error{Code: protocol.CodeIO, Msg: err.Error()}
	}
	output, _ := json.Marshal(struct { // strings and a number always encode
		CNIVersion string `json:"cniVersion"`
		*protocol.Error
	}{version, object})
	_, _ = w.Write(output) // the exit code says that it failed
}
