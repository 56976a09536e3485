//! What is made of a recording: stacks of names, a flame graph, a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use accel::profile::Activity;

use super::recording::{Recording, Stack};
use super::symbols::SymbolTable;

/// How samples are told apart and which count.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// Waiting counts, too.
    pub idle: bool,
    /// The engine's own work is a function of its own.
    pub engine: bool,
    /// Harts are told apart.
    pub harts: bool,
}

/// A function by its name, or what is known of code without one.
fn name(symbols: &SymbolTable, pc: u64, kernel: bool) -> Option<String> {
    symbols.find(pc, kernel).map(|(name, _)| name.to_owned())
}

/// Code without a name.
fn nameless(symbols: &SymbolTable, pc: u64, kernel: bool) -> String {
    match (symbols.is_empty(), kernel) {
        (true, _) => format!("{pc:#x}"),
        (_, true) => "[kernel]".to_owned(),
        (_, false) => "[user]".to_owned(),
    }
}

/// Whose time it was.
fn owner(stack: &Stack) -> String {
    const PPN: u64 = (1 << 44) - 1;
    match stack.process() {
        Some(name) => name,
        None if stack.virt => "[guest of the guest]".to_owned(),
        None if stack.satp >> 60 == 0 => "[no paging]".to_owned(),
        None => format!("[address space {:#x}]", (stack.satp & PPN) << 12),
    }
}

/// The functions of a stack, the outermost first.
fn functions(stack: &Stack, symbols: &SymbolTable, view: View) -> Vec<String> {
    // Below a kernel's frames may stand the program that it has interrupted, at the other end of the address space.
    let is_kernel = |pc: u64| stack.in_kernel() && pc >> 63 == stack.pc >> 63;
    let nameless = |pc: u64| nameless(symbols, pc, is_kernel(pc));
    // A return address stands behind the call, which may be the last instruction of a function.
    let caller = |back: u64| name(symbols, back.wrapping_sub(1), is_kernel(back));
    let own = name(symbols, stack.pc, is_kernel(stack.pc));
    let mut all: Vec<String> = Vec::new();
    for &back in stack.frames.iter().rev() {
        let name = caller(back).unwrap_or_else(|| nameless(back));
        // Of a run of code without names one says enough.
        if !(name.starts_with('[') && all.last() == Some(&name)) {
            all.push(name);
        }
    }
    // The return-address register is a caller that has no frame yet, or any more, if it is none of those that have.
    if let (Some(own), Some(by_register)) = (&own, caller(stack.ra).filter(|_| stack.ra != 0))
        && by_register != *own
        && all.last() != Some(&by_register)
    {
        all.push(by_register);
    }
    let own = own.unwrap_or_else(|| nameless(stack.pc));
    if !(own.starts_with('[') && all.last() == Some(&own)) {
        all.push(own);
    }
    match stack.activity {
        Activity::Engine if view.engine => all.push("[engine]".to_owned()),
        Activity::Outside if view.engine => all.push("[outside]".to_owned()),
        _ => {}
    }
    all
}

/// Samples by their stacks of names: whose they are, then functions from the outside in.
pub fn named(recording: &Recording, symbols: &SymbolTable, view: View) -> BTreeMap<Vec<String>, u64> {
    let mut all = BTreeMap::new();
    for (stack, count) in &recording.stacks {
        let idle = stack.activity == Activity::Idle;
        if idle && !view.idle {
            continue;
        }
        let mut names = if view.harts { vec![format!("hart {}", stack.hart)] } else { Vec::new() };
        if idle {
            names.push("[idle]".to_owned());
        } else {
            names.push(owner(stack));
            names.extend(functions(stack, symbols, view));
        }
        *all.entry(names).or_default() += count;
    }
    all
}

/// Lines of `outermost;...;innermost COUNT`, as tools for flame graphs read them.
pub fn folded(stacks: &BTreeMap<Vec<String>, u64>) -> String {
    let mut text = String::new();
    for (names, count) in stacks {
        let names: Vec<_> = names.iter().map(|name| name.replace([';', '\n'], ":")).collect();
        let _ = writeln!(text, "{} {count}", names.join(";"));
    }
    text
}

/// A flame graph as SVG.
///
/// # Errors
/// There is nothing to draw.
pub fn svg(stacks: &BTreeMap<Vec<String>, u64>, title: &str, subtitle: &str) -> Result<Vec<u8>, String> {
    let mut options = inferno::flamegraph::Options::default();
    options.title = title.to_owned();
    options.subtitle = (!subtitle.is_empty()).then(|| subtitle.to_owned());
    // The same picture of the same samples.
    options.hash = true;
    let text = folded(stacks);
    let mut out = Vec::new();
    inferno::flamegraph::from_lines(&mut options, text.lines(), &mut out)
        .map_err(|e| format!("no flame graph: {e}"))?;
    Ok(out)
}

/// What the recording is, in a few lines.
pub fn summary(recording: &Recording) -> String {
    let Recording { hz, harts, seconds, lost, .. } = recording;
    let samples = recording.samples();
    let idle = recording.count(|s| s.activity == Activity::Idle);
    let busy = samples - idle;
    let percent = |n: u64, of: u64| if of == 0 { 0.0 } else { 100.0 * n as f64 / of as f64 };
    let busy_of =
        |wanted: fn(&Stack) -> bool| percent(recording.count(|s| s.activity != Activity::Idle && wanted(s)), busy);
    format!(
        "{samples} samples of {harts} hart(s) in {seconds:.1} s at {hz} Hz, {lost} lost; idle {:.1} %\n\
         of {busy} others: kernel {:.1} %, user {:.1} %; the engine's own work {:.1} %, SBI calls {:.1} %\n",
        percent(idle, samples),
        busy_of(Stack::in_kernel),
        busy_of(|s| !s.in_kernel()),
        busy_of(|s| s.activity == Activity::Engine),
        busy_of(|s| s.activity == Activity::Outside),
    )
}

/// The functions that most of the time went to: in themselves, and with what they called.
pub fn top(stacks: &BTreeMap<Vec<String>, u64>, lines: usize, harts: bool) -> String {
    let all: u64 = stacks.values().sum();
    let mut rows: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    // What stands before the functions.
    let heads = 1 + usize::from(harts);
    for (names, count) in stacks {
        let Some(own) = names.last() else { continue };
        rows.entry(own).or_default().0 += count;
        let mut seen = BTreeSet::new();
        let functions =
            names.get(heads..).filter(|functions| !functions.is_empty()).unwrap_or(&names[names.len() - 1..]);
        functions.iter().filter(|name| seen.insert(*name)).for_each(|name| rows.entry(name).or_default().1 += count);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(name, (own, total))| (std::cmp::Reverse((*own, *total)), *name));
    let percent = |n: u64| 100.0 * n as f64 / all.max(1) as f64;
    let mut text = "   self    total  function\n".to_owned();
    for (name, (own, total)) in rows.into_iter().take(lines) {
        let _ = writeln!(text, "{:6.2} % {:6.2} %  {name}", percent(own), percent(total));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::recording::tests::stack;
    use super::*;
    use accel::Mode;

    /// Functions a, b, c and leaf, 256 bytes each from 0x1000.
    fn symbols() -> SymbolTable {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        std::fs::write(&path, "1000 T a\n1100 T b\n1200 T c\n1300 T leaf\n1400 D end\n").unwrap();
        let mut table = SymbolTable::default();
        table.add_map(&path, None).unwrap();
        table
    }

    fn names(stack: &Stack) -> String {
        functions(stack, &symbols(), View::default()).join(";")
    }

    #[test]
    fn stacks_are_named_from_the_outside_in() {
        assert_eq!(names(&stack(0x1210, &[0x1104, 0x1004])), "a;b;c");
        // A call at the end of a function.
        assert_eq!(names(&stack(0x1210, &[0x1200, 0x1100])), "a;b;c");
        // In a function without a frame the register knows the caller.
        let in_leaf = |ra, frames: &[u64]| Stack { ra, ..stack(0x1304, frames) };
        assert_eq!(names(&in_leaf(0x1204, &[0x1104, 0x1004])), "a;b;c;leaf");
        // With a frame it is the same caller again, or a place that the function called from.
        assert_eq!(names(&in_leaf(0x1204, &[0x1204, 0x1104])), "b;c;leaf");
        assert_eq!(names(&in_leaf(0x1308, &[0x1204, 0x1104])), "b;c;leaf");
        assert_eq!(names(&in_leaf(0x9000, &[0x1204])), "c;leaf");
        // What has no name.
        assert_eq!(names(&stack(0x9000, &[0x9100, 0x9200, 0x1104])), "b;[kernel]");
        assert_eq!(names(&Stack { mode: Mode::User, ..stack(0x1210, &[0x1104]) }), "[user]");
        assert_eq!(names(&stack(0x1210, &[0x1104, 1 << 63])), "[user];b;c");
        let bare = functions(&stack(0x1210, &[]), &SymbolTable::default(), View::default());
        assert_eq!(bare, ["0x1210"]);
    }

    fn recording() -> Recording {
        let mut all = Recording { hz: 100, harts: 2, seconds: 1.0, ..Recording::default() };
        let with = |activity, hart, mut stack: Stack| {
            (stack.activity, stack.hart) = (activity, hart);
            stack.name[..2].copy_from_slice(b"sh");
            stack
        };
        let add = |all: &mut Recording, n, stack: Stack| (0..n).for_each(|_| all.add(stack.clone()));
        add(&mut all, 6, with(Activity::Guest, 0, stack(0x1304, &[0x1104, 0x1004])));
        add(&mut all, 3, with(Activity::Engine, 1, stack(0x1104, &[0x1004])));
        add(&mut all, 1, stack(0x1004, &[]));
        add(&mut all, 10, with(Activity::Idle, 1, stack(0x1004, &[])));
        all
    }

    #[test]
    fn reports_count_what_they_are_asked_for() {
        let (all, symbols) = (recording(), symbols());
        let view = |view| folded(&named(&all, &symbols, view));
        let plain = view(View::default());
        assert_eq!(plain, "[address space 0x5000];a 1\nsh;a;b 3\nsh;a;b;leaf 6\n");
        assert!(view(View { idle: true, ..View::default() }).starts_with("[address space 0x5000];a 1\n[idle] 10\n"));
        let whole = view(View { engine: true, harts: true, ..View::default() });
        assert!(whole.contains("hart 1;sh;a;b;[engine] 3\n") && whole.contains("hart 0;sh;a;b;leaf 6\n"), "{whole}");
        let table = top(&named(&all, &symbols, View::default()), 2, false);
        assert_eq!(table, "   self    total  function\n 60.00 %  60.00 %  leaf\n 30.00 %  90.00 %  b\n");
        let text = summary(&all);
        assert!(text.starts_with("20 samples of 2 hart(s) in 1.0 s at 100 Hz, 0 lost; idle 50.0 %\n"), "{text}");
        assert!(text.contains("of 10 others: kernel 100.0 %, user 0.0 %; the engine's own work 30.0 %"), "{text}");
        assert!(summary(&Recording::default()).contains("idle 0.0 %"));
    }

    #[test]
    fn a_flame_graph_is_a_picture_of_these_names() {
        let stacks = named(&recording(), &symbols(), View::default());
        let picture = svg(&stacks, "a <title> & more", "").unwrap();
        let text = String::from_utf8(picture).unwrap();
        assert!(text.starts_with("<?xml") && text.trim_end().ends_with("</svg>"));
        assert!(
            text.contains("leaf") && text.contains("a &lt;title&gt; &amp; more") && text.contains("60.00%"),
            "{text}"
        );
        assert!(svg(&BTreeMap::new(), "", "").is_err());
    }
}
