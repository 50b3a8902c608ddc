// Command images builds container images as OCI archives under .cache/images,
// which "docker load" and "ctr images import" take. It prints for each the archive, the reference, the digest and the
// bill of materials.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var all []string
	for _, i := range images.Definitions {
		all = append(all, i.Name)
	}
	version := flag.String("version", images.DefaultVersion, "the tag of the product's images")
	refresh := flag.Bool("refresh", false, "make the Debian root file systems anew, with the newest packages")
	root := flag.String("root", ".", "the checkout")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "images [flags] NAME…\nNames: %s\n", strings.Join(all, " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = images.Product()
	}
	programs, err := build.New(*root, os.Stderr)
	if err != nil {
		return err
	}
	archives, err := images.Builder{Programs: programs, Version: *version, Refresh: *refresh}.Build(ctx, names...)
	if err != nil {
		return err
	}
	for _, a := range archives {
		fmt.Printf("%s %s sha256:%s %s\n", a.Path, a.Reference, a.ID, a.BOM)
	}
	return nil
}
