//! `links = "allcores"` makes cargo refuse two copies of the library in one program; it asks for a build script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
