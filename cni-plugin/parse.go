package cniplugin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// supportedVersions are the versions of the configuration and result that the plugin speaks.
var supportedVersions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

const newestVersion = "1.1.0"

func isSupported(version string) bool { return slices.Contains(supportedVersions, version) }

// networkConfig is the part of the network configuration that the plugin itself needs; Felix
// reads the rest.
type networkConfig struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	// Socket is where Felix listens, Spool where a DEL is left for it.
	Socket string `json:"felix_socket"`
	Spool  string `json:"felix_spool"`
}

// askedVersion returns the configuration's cniVersion, or nothing if there is none.
func askedVersion(raw []byte) string {
	var config struct {
		CNIVersion string `json:"cniVersion"`
	}
	_ = json.Unmarshal(raw, &config) // parse reports it
	return config.CNIVersion
}

// parse checks the environment and the configuration. Its errors name the variable or the
// field and say what would be right.
func parse(command string, getenv func(string) string, raw []byte) (*protocol.Request, *networkConfig, error) {
	needs, known := requiredVariables[command]
	if !known {
		return nil, nil, environmentError("CNI_COMMAND", command, "must be one of ADD, DEL, CHECK, GC, STATUS, VERSION")
	}
	request := &protocol.Request{Command: command, Config: raw}
	fields := map[string]*string{
		"CNI_CONTAINERID": &request.ContainerID,
		"CNI_NETNS":       &request.NetNS,
		"CNI_IFNAME":      &request.IfName,
		"CNI_ARGS":        &request.Args,
	}
	for name, field := range fields {
		*field = getenv(name)
	}
	for _, name := range needs {
		if *fields[name] == "" {
			return nil, nil, environmentError(name, "", "must be set for "+command)
		}
	}
	if id := request.ContainerID; id != "" && !isContainerID(id) {
		return nil, nil, environmentError("CNI_CONTAINERID", id,
			"must begin with a letter or digit and consist of letters, digits, '.', '_' and '-'")
	}
	if name := request.IfName; name != "" && !isInterfaceName(name) {
		return nil, nil, environmentError("CNI_IFNAME", name,
			"must have 1 to 15 characters, none of them '/', ':' or white space, and not be '.' or '..'")
	}
	config, err := parseConfig(raw)
	return request, config, err
}

var requiredVariables = map[string][]string{
	"ADD":    {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
	"DEL":    {"CNI_CONTAINERID", "CNI_IFNAME"},
	"CHECK":  {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"},
	"GC":     nil,
	"STATUS": nil,
}

func parseConfig(raw []byte) (*networkConfig, error) {
	config := &networkConfig{Socket: protocol.DefaultSocket, Spool: protocol.DefaultSpool}
	if err := json.Unmarshal(raw, config); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeDecode,
			Msg: "standard input is not a network configuration (a JSON object)", Details: err.Error()}
	}
	if config.CNIVersion == "" {
		config.CNIVersion = "0.1.0" // what the specification says a missing version means
	}
	if !isSupported(config.CNIVersion) {
		return nil, &protocol.Error{Code: protocol.CodeIncompatibleVersion,
			Msg:     fmt.Sprintf("cniVersion %q of the network configuration is not supported", config.CNIVersion),
			Details: "must be one of " + strings.Join(supportedVersions, ", ")}
	}
	if !isContainerID(config.Name) { // the specification gives both the same syntax
		return nil, &protocol.Error{Code: protocol.CodeInvalidConfig,
			Msg:     fmt.Sprintf("name %q of the network configuration is invalid", config.Name),
			Details: "must begin with a letter or digit and consist of letters, digits, '.', '_' and '-'"}
	}
	for field, path := range map[string]string{"felix_socket": config.Socket, "felix_spool": config.Spool} {
		if !strings.HasPrefix(path, "/") {
			return nil, &protocol.Error{Code: protocol.CodeInvalidConfig,
				Msg:     fmt.Sprintf("%s %q of the network configuration is invalid", field, path),
				Details: "must be an absolute path"}
		}
	}
	return config, nil
}

func environmentError(name, value, want string) error {
	return &protocol.Error{Code: protocol.CodeInvalidEnvironment,
		Msg: fmt.Sprintf("environment variable %s=%q is invalid", name, value), Details: want}
}

func isContainerID(s string) bool {
	for i, r := range s {
		alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !alphanumeric && (i == 0 || r != '.' && r != '_' && r != '-') {
			return false
		}
	}
	return s != ""
}

// isInterfaceName follows the kernel's dev_valid_name.
func isInterfaceName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r")
}
