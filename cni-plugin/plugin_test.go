package cniplugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// environment is what a runtime sets for a command, changed by the overrides.
func environment(command string, overrides map[string]string) func(string) string {
	env := map[string]string{
		"CNI_COMMAND":     command,
		"CNI_CONTAINERID": "c0ffee",
		"CNI_NETNS":       "/proc/self/ns/net",
		"CNI_IFNAME":      "eth0",
		"CNI_ARGS":        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web",
		"CNI_PATH":        "/opt/cni/bin",
	}
	for name, value := range overrides {
		env[name] = value
	}
	return func(name string) string { return env[name] }
}

func configuration(t *testing.T, fields map[string]any) string {
	t.Helper()
	config := map[string]any{"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico"}
	for name, value := range fields {
		config[name] = value
	}
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

type cniError struct {
	CNIVersion, Msg, Details string
	Code                     uint
}

// execute runs the plugin as a runtime does and gives its output and error object.
func execute(t *testing.T, getenv func(string) string, config string) (string, cniError) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main([]string{"calico"}, getenv, strings.NewReader(config), &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Errorf("unexpected output on stderr: %s", &stderr)
	}
	var object cniError
	if code != 0 {
		if err := json.Unmarshal(stdout.Bytes(), &object); err != nil {
			t.Fatalf("exit code %d without an error object: %q", code, &stdout)
		}
	}
	return stdout.String(), object
}

func TestVersion(t *testing.T) {
	for _, tt := range []struct{ input, want string }{
		{`{"cniVersion":"0.4.0"}`, "0.4.0"},
		{`{"cniVersion":"9.9.9"}`, "1.1.0"},
		{``, "1.1.0"},
	} {
		output, _ := execute(t, environment("VERSION", nil), tt.input)
		want := `{"cniVersion":"` + tt.want + `","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`
		if output != want {
			t.Errorf("input %q: got %s, want %s", tt.input, output, want)
		}
	}
}

func TestBadInputNamesTheFieldAndWhatIsRight(t *testing.T) {
	tests := []struct {
		name     string
		command  string
		env      map[string]string
		config   map[string]any
		raw      string
		code     uint
		contains []string
	}{
		{name: "command", command: "FROB", code: 4, contains: []string{`CNI_COMMAND="FROB"`, "ADD, DEL"}},
		{name: "no container", command: "ADD", env: map[string]string{"CNI_CONTAINERID": ""}, code: 4,
			contains: []string{"CNI_CONTAINERID", "must be set for ADD"}},
		{name: "no namespace", command: "ADD", env: map[string]string{"CNI_NETNS": ""}, code: 4,
			contains: []string{"CNI_NETNS", "must be set"}},
		{name: "namespace missing", command: "ADD", env: map[string]string{"CNI_NETNS": "/does/not/exist"}, code: 4,
			contains: []string{`CNI_NETNS="/does/not/exist"`, "path of a network namespace"}},
		{name: "container", command: "DEL", env: map[string]string{"CNI_CONTAINERID": "../../etc"}, code: 4,
			contains: []string{`CNI_CONTAINERID="../../etc"`, "letter or digit"}},
		{name: "interface too long", command: "ADD", env: map[string]string{"CNI_IFNAME": "sixteen-letters-"}, code: 4,
			contains: []string{"CNI_IFNAME", "1 to 15"}},
		{name: "interface with slash", command: "ADD", env: map[string]string{"CNI_IFNAME": "a/b"}, code: 4,
			contains: []string{"CNI_IFNAME"}},
		{name: "version", command: "ADD", config: map[string]any{"cniVersion": "0.2.0"}, code: 1,
			contains: []string{`cniVersion "0.2.0"`, "1.0.0, 1.1.0"}},
		{name: "no version", command: "ADD", config: map[string]any{"cniVersion": ""}, code: 1,
			contains: []string{`cniVersion "0.1.0"`}},
		{name: "network name", command: "ADD", config: map[string]any{"name": ""}, code: 7,
			contains: []string{`name ""`}},
		{name: "relative socket", command: "ADD", config: map[string]any{"felix_socket": "run/x"}, code: 7,
			contains: []string{`felix_socket "run/x"`, "absolute"}},
		{name: "not JSON", command: "ADD", raw: "name: x", code: 6, contains: []string{"JSON object"}},
		{name: "too large", command: "ADD", raw: strings.Repeat(" ", maxConfig+1), code: 6,
			contains: []string{"larger than 1048576"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := tt.raw
			if raw == "" {
				raw = configuration(t, tt.config)
			}
			_, got := execute(t, environment(tt.command, tt.env), raw)
			if got.Code != tt.code {
				t.Errorf("got code %d (%s), want %d", got.Code, got.Msg, tt.code)
			}
			for _, want := range tt.contains {
				if !strings.Contains(got.Msg+": "+got.Details, want) {
					t.Errorf("message %q, details %q do not contain %q", got.Msg, got.Details, want)
				}
			}
			if !isSupported(got.CNIVersion) {
				t.Errorf("error object has cniVersion %q", got.CNIVersion)
			}
		})
	}
}

// felix listens like Felix and answers each request with what answer gives; nil closes the
// connection without an answer.
func felix(t *testing.T, answer func(*protocol.Request, *os.File) *protocol.Response) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "felix.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			request, netns, err := protocol.ReadRequest(conn)
			if err != nil {
				t.Errorf("read request: %v", err)
			} else if response := answer(request, netns); response != nil {
				_ = protocol.WriteResponse(conn, response) // the plugin's side reports it
			}
			netns.Close()
			conn.Close()
		}
	}()
	return socket
}

func TestAddPassesTheRequestAndTheNamespace(t *testing.T) {
	want := &protocol.Request{Command: "ADD", ContainerID: "c0ffee", NetNS: "/proc/self/ns/net", IfName: "eth0",
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"}
	var attempts atomic.Int32
	socket := felix(t, func(got *protocol.Request, netns *os.File) *protocol.Response {
		if attempts.Add(1) == 1 {
			return nil // Felix restarts in the middle: the plugin tries again
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("request differs (-want +got):\n%s", diff)
		}
		mine, err := os.Stat("/proc/self/ns/net")
		if err != nil {
			t.Error(err)
		}
		if theirs, err := netns.Stat(); err != nil || !os.SameFile(mine, theirs) {
			t.Errorf("received %v, %v as the namespace, want %v", theirs, err, mine)
		}
		return &protocol.Response{Result: json.RawMessage(`{"ips":[]}`)}
	})
	config := configuration(t, map[string]any{"felix_socket": socket})
	want.Config = json.RawMessage(config)
	output, object := execute(t, environment("ADD", nil), config)
	if output != `{"ips":[]}` || attempts.Load() != 2 {
		t.Errorf("got %q, %+v after %d attempts", output, object, attempts.Load())
	}
}

func TestErrorsOfFelixReachTheRuntime(t *testing.T) {
	socket := felix(t, func(*protocol.Request, *os.File) *protocol.Response {
		return &protocol.Response{Error: &protocol.Error{Code: protocol.CodeNoAddress, Msg: "no pool", Details: "why"}}
	})
	_, got := execute(t, environment("ADD", nil), configuration(t,
		map[string]any{"felix_socket": socket, "cniVersion": "0.3.1"}))
	if diff := cmp.Diff(cniError{CNIVersion: "0.3.1", Code: 101, Msg: "no pool", Details: "why"}, got); diff != "" {
		t.Errorf("error object differs (-want +got):\n%s", diff)
	}
}

func TestFelixDown(t *testing.T) {
	for command, code := range map[string]uint{"CHECK": 11, "GC": 11, "STATUS": 50} {
		config := configuration(t, map[string]any{"felix_socket": filepath.Join(t.TempDir(), "none"),
			"cniVersion": "1.1.0"})
		_, got := execute(t, environment(command, nil), config)
		if got.Code != code || !strings.Contains(got.Msg, "calico-node") {
			t.Errorf("%s: got %+v, want code %d that names the calico-node pod", command, got, code)
		}
	}
}

func TestDeleteIsSpooledWhenFelixIsDown(t *testing.T) {
	tryAgain := felix(t, func(*protocol.Request, *os.File) *protocol.Response {
		return &protocol.Response{Error: &protocol.Error{Code: protocol.CodeTryAgain}}
	})
	for name, socket := range map[string]string{"down": filepath.Join(t.TempDir(), "none"), "busy": tryAgain} {
		t.Run(name, func(t *testing.T) {
			spool := filepath.Join(t.TempDir(), "spool")
			config := configuration(t, map[string]any{"felix_socket": socket, "felix_spool": spool})
			for range 2 {
				if output, object := execute(t, environment("DEL", map[string]string{"CNI_NETNS": ""}),
					config); output != "" {
					t.Fatalf("DEL failed: %+v", object)
				}
			}
			got, err := protocol.ReadSpool(spool)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]*protocol.Request{filepath.Join(spool, protocol.SpoolName("c0ffee", "eth0")): {
				Command: "DEL", ContainerID: "c0ffee", IfName: "eth0",
				Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web", Config: json.RawMessage(config)}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("spool differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeleteFailsWhenFelixSaysSo(t *testing.T) {
	socket := felix(t, func(*protocol.Request, *os.File) *protocol.Response {
		return &protocol.Response{Error: &protocol.Error{Code: protocol.CodeInternal, Msg: "kernel"}}
	})
	_, got := execute(t, environment("DEL", nil), configuration(t,
		map[string]any{"felix_socket": socket, "felix_spool": t.TempDir()}))
	if got.Code != protocol.CodeInternal {
		t.Errorf("got %+v", got)
	}
}

func TestRelease(t *testing.T) {
	var stdout bytes.Buffer
	code := Main([]string{"calico", "version"}, func(string) string { return "" }, strings.NewReader(""), &stdout,
		io.Discard)
	if code != 0 || len(strings.TrimSpace(stdout.String())) == 0 {
		t.Errorf("got exit code %d, %q", code, &stdout)
	}
}

func TestWithoutCommandItSaysWhatItIs(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Main([]string{"calico"}, func(string) string { return "" }, strings.NewReader(""), &stdout, &stderr)
	if code != 2 || !strings.Contains(stderr.String(), "calico install") || stdout.Len() > 0 {
		t.Errorf("got exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ADD", "c0ffee", "eth0", `{"cniVersion":"1.0.0","name":"n"}`)
	f.Add("VERSION", "", "", ``)
	f.Add("GC", "", "", `{"cniVersion":1}`)
	f.Fuzz(func(t *testing.T, command, container, iface, config string) {
		env := environment(command, map[string]string{"CNI_CONTAINERID": container, "CNI_IFNAME": iface})
		request, parsed, err := parse(command, env, []byte(config))
		var object *protocol.Error
		switch {
		case err != nil:
			if !errors.As(err, &object) || object.Msg == "" {
				t.Errorf("error without an error object: %v", err)
			}
		case strings.ContainsAny(request.ContainerID+request.IfName, "/ \t\n"):
			t.Errorf("accepted container %q, interface %q", request.ContainerID, request.IfName)
		case !isSupported(parsed.CNIVersion):
			t.Errorf("accepted version %q", parsed.CNIVersion)
		}
	})
}

func TestInstall(t *testing.T) {
	paths := HostPaths{Bin: filepath.Join(t.TempDir(), "bin"), Config: filepath.Join(t.TempDir(), "net.d"),
		Image: t.TempDir()}
	plugins := func() (types []string) {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(paths.Config, "10-calico.conflist"))
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Plugins []struct{ Type string } }
		if err := json.Unmarshal(content, &list); err != nil {
			t.Fatal(err)
		}
		for _, plugin := range list.Plugins {
			types = append(types, plugin.Type)
		}
		return types
	}
	if err := Install(paths, ""); err == nil || !strings.Contains(err.Error(), "hostPorts") {
		t.Errorf("without portmap in the image and on the host: %v", err)
	}
	if _, err := os.Stat(filepath.Join(paths.Config, "10-calico.conflist")); err == nil {
		t.Error("a configuration that names a plugin that is missing is installed")
	}
	for _, at := range []struct{ name, dir string }{{"of the host", paths.Bin}, {"of the image", paths.Image}} {
		if err := os.WriteFile(filepath.Join(at.dir, "portmap"), []byte(at.name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Install(paths, ""); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"calico", "portmap"}, plugins()); diff != "" {
			t.Errorf("with portmap %s, plugins differ (-want +got):\n%s", at.name, diff)
		}
	}
	portmap := filepath.Join(paths.Bin, "portmap")
	content, err := os.ReadFile(portmap)
	if err != nil || string(content) != "of the image" {
		t.Errorf("the host's portmap is that %s (%v), want that of the image", content, err)
	}
	if info, err := os.Stat(portmap); err != nil || info.Mode() != 0o755 {
		t.Errorf("installed portmap: %v, %v", info.Mode(), err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(paths.Bin, "calico")
	if got, err := os.ReadFile(binary); err != nil || !bytes.Equal(got, want) {
		t.Errorf("installed binary differs from the running one (%v)", err)
	}
	if info, err := os.Stat(binary); err != nil || info.Mode() != 0o755 {
		t.Errorf("installed binary: %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := Uninstall(paths); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{paths.Bin, paths.Config} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "portmap" {
				t.Errorf("left behind: %s", filepath.Join(dir, entry.Name()))
			}
		}
	}
}

func TestInstallRefusesABadConfiguration(t *testing.T) {
	for config, want := range map[string]string{
		`{`:                               "CNI_NETWORK_CONFIG is not a JSON object",
		`{"name":"x"}`:                    `field "plugins" must be a list`,
		`{"plugins":[{"type":""}]}`:       `plugins[0].type`,
		`{"plugins":[{"type":"bridge"}]}`: `one of type "calico"`,
	} {
		paths := HostPaths{Bin: filepath.Join(t.TempDir(), "bin"), Config: filepath.Join(t.TempDir(), "net.d")}
		if err := Install(paths, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("config %s: got %v, want an error with %q", config, err, want)
		}
		if _, err := os.Stat(paths.Bin); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("config %s: something was installed", config)
		}
	}
}

func TestStdinThatFails(t *testing.T) {
	var stdout bytes.Buffer
	code := Main([]string{"calico"}, environment("ADD", nil), io.MultiReader(strings.NewReader("{"), errorReader{}),
		&stdout, io.Discard)
	if code != 1 || !strings.Contains(stdout.String(), "broken pipe") {
		t.Errorf("got exit code %d, %s", code, &stdout)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("broken pipe") }
