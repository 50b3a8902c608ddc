package calicoctl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/maneki-net/maneki/datastore"
)

// logLevels are the values of --log-level. This program logs what it asks of the datastore: changes at info, all of it
// at debug. What fails is always printed, so the others log nothing.
var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn,
	"error": slog.LevelError, "fatal": slog.LevelError, "panic": slog.LevelError,
}

// newLog returns the log of a value of --log-level.
func newLog(out io.Writer, level string) (*slog.Logger, error) {
	l, ok := logLevels[strings.ToLower(level)]
	if !ok {
		return nil, fmt.Errorf("--log-level=%s: must be panic, fatal, error, warn, info or debug "+
			"(-l is --log-level, as in Calico; get has --selector for labels)", level)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: l})), nil
}

// logging is a store that logs what it is asked.
type logging struct {
	datastore.Store
	log *slog.Logger
}

func (l logging) done(ctx context.Context, operation string, kind datastore.Kind, key datastore.Key, began time.Time,
	err error) {
	level := slog.LevelDebug
	if operation == "create" || operation == "update" || operation == "delete" {
		level = slog.LevelInfo
	}
	l.log.Log(ctx, level, operation, "kind", kind.String(), "name", key.String(), "took", time.Since(began), "error",
		err)
}

// Get implements datastore.Store.
func (l logging) Get(ctx context.Context, kind datastore.Kind, key datastore.Key) (o datastore.Object, err error) {
	defer func(began time.Time) { l.done(ctx, "get", kind, key, began, err) }(time.Now())
	return l.Store.Get(ctx, kind, key)
}

// List implements datastore.Store.
func (l logging) List(ctx context.Context, kind datastore.Kind, opts datastore.ListOptions) (
	list datastore.List, err error) {
	defer func(began time.Time) {
		l.done(ctx, "list", kind, datastore.Key{Namespace: opts.Namespace}, began, err)
	}(time.Now())
	return l.Store.List(ctx, kind, opts)
}

// Watch implements datastore.Store.
func (l logging) Watch(ctx context.Context, kind datastore.Kind, revision string, opts datastore.ListOptions) (
	w datastore.Watcher, err error) {
	defer func(began time.Time) {
		l.done(ctx, "watch", kind, datastore.Key{Namespace: opts.Namespace}, began, err)
	}(time.Now())
	return l.Store.Watch(ctx, kind, revision, opts)
}

// Create implements datastore.Store.
func (l logging) Create(ctx context.Context, kind datastore.Kind, object datastore.Object) (
	o datastore.Object, err error) {
	defer func(began time.Time) {
		l.done(ctx, "create", kind, datastore.KeyOf(object), began, err)
	}(time.Now())
	return l.Store.Create(ctx, kind, object)
}

// Update implements datastore.Store.
func (l logging) Update(ctx context.Context, kind datastore.Kind, object datastore.Object) (
	o datastore.Object, err error) {
	defer func(began time.Time) {
		l.done(ctx, "update", kind, datastore.KeyOf(object), began, err)
	}(time.Now())
	return l.Store.Update(ctx, kind, object)
}

// Delete implements datastore.Store.
func (l logging) Delete(ctx context.Context, kind datastore.Kind, key datastore.Key, pre datastore.Preconditions) (
	err error) {
	defer func(began time.Time) { l.done(ctx, "delete", kind, key, began, err) }(time.Now())
	return l.Store.Delete(ctx, kind, key, pre)
}
