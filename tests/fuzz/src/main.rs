//! `fuzz TARGET FILE...`: tries inputs that are there. `fuzz` alone lists the targets. `fuzz seeds TARGET FOLDER` writes a
//! target's seeds, and its words as libFuzzer has dictionaries. Built for libFuzzer (`cargo kit fuzz`) it is libFuzzer's
//! program, and `VIREO_FUZZ_TARGET` names the target.

#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod guided {
    use std::cell::RefCell;

    use fuzz::Run;

    thread_local! {
        static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
    }

    fn open() -> Run {
        let name = std::env::var("VIREO_FUZZ_TARGET").expect("VIREO_FUZZ_TARGET names a target");
        (fuzz::find(&name).unwrap_or_else(|| panic!("there is no target '{name}'")).open)()
    }

    libfuzzer_sys::fuzz_target!(|input: &[u8]| {
        RUN.with_borrow_mut(|run| run.get_or_insert_with(open)(input));
    });
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fuzz: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(feature = "libfuzzer"))]
fn run(words: &[String]) -> Result<(), String> {
    use std::path::Path;
    let find = |name: &String| fuzz::find(name).ok_or_else(|| format!("there is no target '{name}'"));
    match words {
        [] => {
            fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        [seeds, name, folder] if seeds == "seeds" => {
            let target = find(name)?;
            let failed = |error| format!("cannot write to '{folder}': {error}");
            for (i, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(Path::new(folder).join(format!("seed-{i}")), seed).map_err(failed)?;
            }
            let escaped = |word: &&[u8]| word.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
            let words: String = target.words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
            std::fs::write(Path::new(folder).with_extension("dict"), words).map_err(failed)
        }
        [name, files @ ..] => {
            let target = find(name)?;
            let read = |file: &String| std::fs::read(file).map_err(|error| format!("cannot read '{file}': {error}"));
            let inputs = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            fuzz::smoke::all(target, inputs.into_iter(), &std::env::temp_dir())
        }
    }
}
