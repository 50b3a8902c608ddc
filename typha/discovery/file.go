package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// keep writes the endpoints down. A failure costs no more than a start without the API server.
func (w *Watcher) keep(endpoints []Endpoint) {
	if w.opts.File == "" {
		return
	}
	if err := write(w.opts.File, endpoints); err != nil {
		w.opts.Log.Warn("typha's replicas not written down", "error", err)
	}
}

func write(path string, endpoints []Endpoint) error {
	content, err := json.Marshal(endpoints)
	if err != nil {
		return fmt.Errorf("encode endpoints: %w", err)
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// recall takes what was written down for what there is, until the API server answers.
func (w *Watcher) recall() {
	if pods, known := w.Replicas(); known || len(pods) > 0 || w.opts.File == "" {
		return
	}
	content, err := os.ReadFile(w.opts.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var endpoints []Endpoint
	if err == nil {
		err = json.Unmarshal(content, &endpoints)
	}
	if err != nil {
		w.opts.Log.Warn("typha's replicas of an earlier run not read", "file", w.opts.File, "error", err)
		return
	}
	w.replace(endpoints, nil, false)
}
