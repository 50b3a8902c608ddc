package calicoctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/datastore"
)

// eventNames are how --output-watch-events calls them.
var eventNames = map[datastore.EventType]string{datastore.Added: "ADDED", datastore.Modified: "MODIFIED",
	datastore.Deleted: "DELETED"}

// follow shows what there is and then every change, until ctx ends. A lost watch is made again, and what changed in
// between is shown.
func (g *getting) follow(ctx context.Context) error {
	var widths []int
	known := map[datastore.Key]datastore.Object{}
	for {
		found, revision, err := g.list(ctx)
		if err != nil {
			return err
		}
		if err := g.showEvents(changes(known, found), &widths); err != nil {
			return err
		}
		if err := g.followFrom(ctx, revision, known, &widths); err != nil {
			if ctx.Err() != nil {
				return nil // interrupted, as it is meant to end
			}
			return err
		}
	}
}

// followFrom shows changes until the watch has to be made again.
func (g *getting) followFrom(ctx context.Context, revision string, known map[datastore.Key]datastore.Object,
	widths *[]int) error {
	watcher, err := g.store.Watch(ctx, g.selected.kind, revision,
		datastore.ListOptions{Namespace: g.selected.namespace})
	if err != nil {
		return explained(err)
	}
	defer watcher.Stop()
	for {
		event, err := watcher.Next(ctx)
		switch {
		case errors.Is(err, datastore.ErrExpired), errors.Is(err, datastore.ErrUnavailable) && ctx.Err() == nil:
			return nil
		case err != nil:
			return err
		case event.Object == nil:
			continue
		}
		if event.Err != nil {
			g.complain(fmt.Sprintf("%s %s", g.selected.kind, datastore.KeyOf(event.Object)), event.Err)
		}
		event.Object = event.Object.DeepCopyObject().(datastore.Object)
		key := datastore.KeyOf(event.Object)
		_, shown := known[key]
		switch selects := g.wanted(event.Object); {
		case !selects && !shown:
			continue
		case !selects || event.Type == datastore.Deleted:
			event.Type = datastore.Deleted
			delete(known, key)
		case !shown:
			event.Type = datastore.Added
			fallthrough
		default:
			known[key] = event.Object
		}
		event.Object = g.clean(event.Object)
		if err := g.showEvents([]datastore.Event{event}, widths); err != nil {
			return err
		}
	}
}

// changes says what is different from what was known, and makes it known.
func changes(known map[datastore.Key]datastore.Object, found []datastore.Object) []datastore.Event {
	var events []datastore.Event
	gone := maps.Clone(known)
	for _, object := range found {
		key := datastore.KeyOf(object)
		before, ok := known[key]
		delete(gone, key)
		known[key] = object
		switch {
		case !ok:
			events = append(events, datastore.Event{Type: datastore.Added, Object: object})
		case before.GetResourceVersion() != object.GetResourceVersion():
			events = append(events, datastore.Event{Type: datastore.Modified, Object: object})
		}
	}
	for key, object := range gone {
		delete(known, key)
		events = append(events, datastore.Event{Type: datastore.Deleted, Object: object})
	}
	return events
}

// showEvents shows changes: as rows of a table whose columns keep their widths unless they must grow, or as objects.
func (g *getting) showEvents(events []datastore.Event, widths *[]int) error {
	if !g.printer.isTable() {
		for _, event := range events {
			if err := g.showEvent(event); err != nil {
				return err
			}
		}
		return nil
	}
	columns, err := g.printer.columnsOf(g.selected.kind)
	if err != nil {
		return err
	}
	var lines [][]string
	if *widths == nil {
		lines = append(lines, headings(columns))
	}
	for _, event := range events {
		lines = append(lines, row(columns, event.Object))
	}
	if g.events {
		for i := range lines {
			lines[i] = slices.Insert(lines[i], 0, "EVENT")
		}
		for i, event := range events {
			lines[len(lines)-len(events)+i][0] = eventNames[event.Type]
		}
	}
	*widths = printAligned(g.Out, lines, *widths)
	return nil
}

func (g *getting) showEvent(event datastore.Event) error {
	encoded := g.printer.format == "yaml" || g.printer.format == "json"
	switch {
	case g.printer.format == "yaml":
		fmt.Fprintln(g.Out, "---")
	case g.events && !encoded:
		fmt.Fprint(g.Out, eventNames[event.Type], " ")
	}
	if g.events && encoded {
		return encode(g.Out, g.printer.format, map[string]any{"type": eventNames[event.Type], "object": event.Object})
	}
	return g.printer.print(g.selected.kind, []datastore.Object{event.Object}, false)
}

// printAligned prints lines of cells in columns that are at least this wide, and gives the widths that they had.
func printAligned(out io.Writer, lines [][]string, widths []int) []int {
	for _, cells := range lines {
		widths = append(widths, make([]int, len(cells)-min(len(cells), len(widths)))...)
		for i, cell := range cells {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			fmt.Fprintf(&line, "%-*s   ", widths[i], cell)
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	return widths
}
