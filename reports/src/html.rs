//! The report as one self-contained page: no script, no font, no picture from elsewhere; light and dark; printable.
//!
//! Every verdict is a word, never a colour alone. The bar of the honesty strip is drawn on the required total, so that
//! what did not run is white space.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::anatomy;
use crate::group;
use crate::model::{Case, Ending, Finding, Report, Step, StepStatus, Verdict};
use crate::text::{counts_line, duration};
use crate::write::{Extras, file_stem};

const STYLE: &str = include_str!("report.css");

/// Passed cases whose steps are shown; beyond it a passed case is one line, so that a large sweep stays readable.
const PASSED_WITH_STEPS: usize = 100;

/// The page as text.
#[must_use]
pub fn render(report: &Report, extras: &Extras) -> String {
    let title = format!("sanbench: {} ({})", report.verdict_words(), report.run.suite);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(filter_rules())) }
            }
            body {
                a.skip href="#requirements" { "To the requirements" }
                (banner(report))
                main {
                    (honesty(report))
                    (failures(report, extras))
                    (leftovers(report))
                    (requirements(report))
                    (cases(report, extras))
                    (defects(report))
                    (coverage(report))
                    (waivers(report))
                    (provenance(report))
                }
                footer { p { "Written by sanbench " (report.run.version) ", format " (report.schema) "." } }
            }
        }
    }
    .into_string()
}

/// One rule for each verdict: its radio button hides the rows of all others. No script is needed.
fn filter_rules() -> String {
    Verdict::ALL
        .map(|verdict| {
            let word = verdict.word();
            format!("section:has(#show-{word}:checked) tr[data-verdict]:not([data-verdict={word}]){{display:none}}\n")
        })
        .concat()
}

fn banner(report: &Report) -> Markup {
    let run = &report.run;
    html! {
        header class={ "banner " (report.verdict.word()) } {
            div {
                p.what { "sanbench · " (run.suite) " on " (run.env) }
                h1 { (report.verdict.word()) }
                @if let Some(short) = run.short_form() { p.note { (short) } }
                p { (counts_line(&report.counts)) "." }
                @match &report.ending {
                    Ending::Finished => {},
                    Ending::Interrupted => p.note { "The run was interrupted; clean-up was done." },
                    Ending::Unreachable(why) => p.note { "The array failed us: " (why) },
                    Ending::BenchError(why) => p.note { "The bench itself failed, so nothing here is a verdict: " (why) },
                }
                @for note in &report.notes { p.note { (note) } }
            }
        }
    }
}

fn honesty(report: &Report) -> Markup {
    let counts = &report.counts;
    let parts = [
        (Verdict::Passed, counts.passed),
        (Verdict::Failed, counts.failed),
        (Verdict::Unknown, counts.unknown),
        (Verdict::Waived, counts.waived),
        (Verdict::NotRun, counts.not_run),
    ];
    html! {
        section aria-labelledby="h-honesty" {
            h2 #h-honesty { "What was asked and what was answered" }
            div.bar role="img" aria-label=(counts_line(counts)) {
                @for (verdict, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
                    span class=(verdict.word()) style={ "flex:" (count) } title={ (count) " " (verdict.label()) } {}
                }
            }
            dl.sums {
                div { dt { "required" } dd { (counts.required) } }
                @for (verdict, count) in parts {
                    div class=(verdict.word()) { dt { (verdict.label()) } dd { (count) } }
                }
                div.not_applicable { dt { "not applicable" } dd { (counts.not_applicable) } }
                div { dt { "advisory failed" } dd { (counts.advisory_failed) } }
            }
            p.soft {
                "The bar is the required set; white is what did not run. Not applicable and advisory lie outside it."
            }
        }
    }
}

fn failures(report: &Report, extras: &Extras) -> Markup {
    let count = report.findings().count();
    html! {
        @if count > 0 {
            section aria-labelledby="h-failures" {
                h2 #h-failures { (count) @if count == 1 { " failure" } @else { " failures" } }
                @for (case, finding) in report.findings() { (failure(report, extras, case, finding)) }
            }
        }
    }
}

fn failure(report: &Report, extras: &Extras, case: &Case, finding: &Finding) -> Markup {
    let plan = extras.plan_of(&finding.id, &case.id);
    let anatomy = extras.anatomies.get(&finding.id);
    html! {
        article id={ "f-" (file_stem(&finding.id)) } {
            h3 { (finding.requirement) ": " (anatomy.map_or(finding.message.as_str(), |a| a.symptom.as_str())) }
            @if let Some(entry) = report.requirement(&finding.requirement) {
                p.symptom { span.tag.failed { (entry.level.word()) " broken" } " " (entry.title) }
            }
            @if !finding.replay.is_empty() { code.replay { (finding.replay) } }
            @match anatomy {
                Some(anatomy) => (anatomy::page::render(anatomy)),
                None => {
                    div.two {
                        div { h4 { "expected" } pre { (finding.expected) } }
                        div { h4 { "observed" } pre { (finding.observed) } }
                    }
                }
            }
            details {
                summary { "Where it was seen" }
                dl.facts {
                    dt { "case" } dd { a href={ "#c-" (file_stem(&case.id)) } { (case.id) } " " span.soft { (case.title) } }
                    @if let Some(number) = finding.step { dt { "step" } dd { (number) } }
                    dt { "checker" } dd { (finding.checker) }
                    dt { "signature" } dd { code { (finding.signature) } }
                    dt { "seed" } dd { (finding.seed) }
                }
            }
            @if anatomy.is_none() { details open { summary { "Steps" } (steps(&case.steps, finding.step)) } }
            @if !plan.is_empty() {
                details { summary { "Plan that shows it" } pre { (plan) } }
            }
        }
    }
}

fn steps(steps: &[Step], hit: Option<u32>) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { th.n { "#" } th { "step" } th { "outcome" } th.n { "took" } th { "note" } } }
                tbody {
                    @for step in steps {
                        tr class={ @if hit == Some(step.number) { "hit" } } {
                            td.n { (step.number) }
                            td { code { (step.text) } }
                            td { span class={ "tag " (step_class(step.status)) } { (step.status.word()) } }
                            td.n { @if step.status != StepStatus::NotRun { (duration(step.duration_us)) } }
                            td {
                                (step.note)
                                @for fault in &step.faults { " " span.tag.unknown { "fault: " (fault) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn step_class(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Done | StepStatus::Refused => "done",
        StepStatus::Failed => "failed",
        StepStatus::Unknown => "unknown",
        StepStatus::NotRun => "not_run",
    }
}

fn tag(verdict: Verdict) -> Markup {
    html! { span class={ "tag " (verdict.word()) } { (verdict.label()) } }
}

fn leftovers(report: &Report) -> Markup {
    html! {
        @if !report.leftovers.is_empty() {
            section aria-labelledby="h-left" {
                h2 #h-left { "Left behind by the bench" }
                div.wide { table {
                    thead { tr { th { "what" } th { "id" } th { "name" } th { "where" } th { "why" } } }
                    tbody { @for left in &report.leftovers {
                        tr { td { (left.kind) } td { code { (left.id) } } td { (left.name) } td { (left.place) } td { (left.reason) } }
                    } }
                } }
            }
        }
    }
}

fn requirements(report: &Report) -> Markup {
    html! {
        section #requirements aria-labelledby="h-requirements" {
            h2 #h-requirements { "Requirements" }
            @if report.requirements.is_empty() { p { "No requirement was asked for, so nothing is claimed." } }
            @else {
                fieldset.filter {
                    legend { "Show" }
                    input type="radio" name="show" id="show-all" checked;
                    label for="show-all" { "all " (report.requirements.len()) }
                    @for verdict in Verdict::ALL {
                        @let count = report.requirements.iter().filter(|entry| entry.verdict == verdict).count();
                        @if count > 0 {
                            input type="radio" name="show" id={ "show-" (verdict.word()) };
                            label for={ "show-" (verdict.word()) } { (verdict.label()) " " (count) }
                        }
                    }
                }
                div.wide { table {
                    thead { tr { th scope="col" { "id" } th scope="col" { "level" } th scope="col" { "verdict" }
                        th scope="col" { "requirement" } th scope="col" { "evidence" } } }
                    @for (title, entries) in group::sorted(&report.requirements, |entry| &entry.id) {
                        tbody {
                            tr { th.group colspan="5" scope="rowgroup" { (title) } }
                            @for entry in entries {
                                tr data-verdict=(entry.verdict.word()) id={ "r-" (file_stem(&entry.id)) } {
                                    th scope="row" { code { (entry.id) } }
                                    td { (entry.level.word()) @if !entry.required { br; span.soft { "advisory" } } }
                                    td { (tag(entry.verdict)) }
                                    td { (entry.title) @if !entry.reason.is_empty() { br; span.soft { (entry.reason) } } }
                                    td { (evidence(report, &entry.evidence)) }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Evidence lines; the id of a case becomes a link to it.
fn evidence(report: &Report, lines: &[String]) -> Markup {
    html! {
        ul.plain {
            @for line in lines {
                li {
                    @if report.cases.iter().any(|case| case.id == *line) {
                        a href={ "#c-" (file_stem(line)) } { (line) }
                    } @else { (line) }
                }
            }
        }
    }
}

fn cases(report: &Report, extras: &Extras) -> Markup {
    let mut passed = 0;
    html! {
        @if !report.cases.is_empty() {
            section aria-labelledby="h-cases" {
                h2 #h-cases { "Cases" }
                @for case in &report.cases {
                    @let brief = {
                        passed += usize::from(case.verdict == Verdict::Passed);
                        case.verdict == Verdict::Passed && passed > PASSED_WITH_STEPS
                    };
                    @if brief {
                        p id={ "c-" (file_stem(&case.id)) } { (case_line(case)) }
                    } @else {
                        details id={ "c-" (file_stem(&case.id)) } open[case.verdict == Verdict::Failed] {
                            summary { (case_line(case)) }
                            (case_body(case, extras))
                        }
                    }
                }
                @if passed > PASSED_WITH_STEPS {
                    p.soft { "Steps of the first " (PASSED_WITH_STEPS) " passed cases are shown; report.json has all." }
                }
            }
        }
    }
}

fn case_line(case: &Case) -> Markup {
    html! {
        (tag(case.verdict)) " " strong { (case.id) } " " (case.title) " "
        span.soft {
            (case.steps.len()) " steps, " (duration(case.duration_us))
            @if !case.reason.is_empty() { ": " (case.reason) }
        }
    }
}

fn case_body(case: &Case, extras: &Extras) -> Markup {
    html! {
        p.soft {
            "seed " (case.seed)
            @for id in &case.requirements { " · " a href={ "#r-" (file_stem(id)) } { (id) } }
            @if extras.histories.contains_key(&case.id) {
                " · " a href={ "history/" (file_stem(&case.id)) ".jsonl" } { "history" }
            }
        }
        @for finding in &case.findings {
            p { a href={ "#f-" (file_stem(&finding.id)) } { (finding.requirement) ": " (finding.message) } }
        }
        @if !case.steps.is_empty() { (steps(&case.steps, None)) }
    }
}

fn defects(report: &Report) -> Markup {
    let caught = report.defects.iter().filter(|defect| defect.caught).count();
    let planted = report.defects.iter().filter(|defect| defect.waits_for.is_empty()).count();
    html! {
        @if !report.defects.is_empty() {
            section aria-labelledby="h-defects" {
                h2 #h-defects { "Strength of the bench: " (caught) " of " (planted) " planted defects caught" }
                @if planted < report.defects.len() {
                    p.soft { (report.defects.len() - planted) " more wait for what they would be planted in." }
                }
                div.wide { table {
                    thead { tr {
                        th { "defect" } th { "planted as" } th { "in" } th { "caught" } th { "by" } th { "story" } th { "mode" }
                        th.n { "runs" } th.n { "ms" } th.n { "steps" }
                    } }
                    tbody { @for defect in &report.defects {
                        tr {
                            td { code { (defect.id) } }
                            td { code { (defect.switch) } }
                            td { (defect.home) }
                            td {
                                @if defect.caught { span.tag.passed { "yes" } }
                                @else if defect.missed() { span.tag.failed { "no" } }
                                @else { span.tag.not_run { "waits" } }
                            }
                            td {
                                @if defect.waits_for.is_empty() { (defect.by) } @else { "for " (defect.waits_for) }
                                @if defect.missed() { "expected " (defect.expected.join(" or ")) }
                                @if !defect.note.is_empty() { " (" (defect.note) ")" }
                            }
                            td { (defect.story) } td { (defect.mode.word()) }
                            td.n { (defect.runs) } td.n { (defect.ms) }
                            td.n { @if let Some(steps) = defect.steps { (steps) } @else if defect.caught { "-" } }
                        }
                    } }
                } }
            }
        }
    }
}

fn coverage(report: &Report) -> Markup {
    let lists = [("Marks", &report.coverage.marks), ("Fault points passed", &report.coverage.points)];
    html! {
        @if lists.iter().any(|(_, list)| !list.is_empty()) {
            section aria-labelledby="h-coverage" {
                h2 #h-coverage { "Coverage" }
                div.two {
                    @for (title, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                        div { table {
                            thead { tr { th { (title) } th.n { "hits" } } }
                            tbody { @for (name, hits) in list {
                                tr {
                                    td { (name) }
                                    td.n { @if *hits == 0 { span.tag.unknown { "never" } } @else { (hits) } }
                                }
                            } }
                        } }
                    }
                }
            }
        }
    }
}

fn waivers(report: &Report) -> Markup {
    html! {
        @if !report.waivers.is_empty() {
            section aria-labelledby="h-waivers" {
                h2 #h-waivers { "Waivers" }
                div.wide { table {
                    thead { tr { th { "requirement" } th { "state" } th { "reason" } th { "link" } th { "owner" } th { "expires" } } }
                    tbody { @for waiver in &report.waivers {
                        tr {
                            td { code { (waiver.requirement) } } td { (waiver.state.label()) } td { (waiver.reason) }
                            // Plain text: a link from a waiver file could be anything.
                            td { (waiver.link) } td { (waiver.owner) } td { (waiver.expires) }
                        }
                    } }
                } }
            }
        }
    }
}

fn provenance(report: &Report) -> Markup {
    let run = &report.run;
    html! {
        section aria-labelledby="h-provenance" {
            h2 #h-provenance { "Provenance" }
            dl.facts {
                dt { "bench" } dd { "sanbench " (run.version) }
                dt { "environment" } dd { (run.env) }
                dt { "suite" } dd { (run.suite) }
                dt { "seed" } dd { (run.seed) }
                dt { "faults" } dd { (run.faults) " (" (run.faults_injected) " injected)" }
                dt { "work" } dd { (run.plans) " plans, " (run.steps) " steps" }
                @if let Some(started) = &run.started { dt { "started" } dd { (started) } }
                dt { "took" } dd { (duration(run.duration_ms.saturating_mul(1_000))) }
                @if let Some(hash) = &run.history_sha256 { dt { "history SHA-256" } dd { code { (hash) } } }
                @if !run.planted.is_empty() { dt { "planted defects" } dd { (run.planted.join(", ")) } }
                @if !run.command.is_empty() { dt { "command" } dd { code { (run.command) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sample;

    fn page() -> String {
        let plans =
            BTreeMap::from([("lifecycle/0".to_owned(), "create vol1 1GiB\nextend vol1 2GiB\n".to_owned())]);
        render(&sample::report(), &Extras { plans, ..Extras::default() })
    }

    #[test]
    fn the_page() {
        // The style sheet is reviewed in its own file.
        let page = page();
        let (head, rest) = page.split_once("<style>").unwrap();
        let (_, body) = rest.split_once("</style>").unwrap();
        insta::assert_snapshot!(format!("{head}{}", body.replace("><", ">\n<")));
    }

    #[test]
    fn it_needs_nothing_from_elsewhere() {
        let page = page();
        for wanting in ["<script", "<link", "<img", "@import", "url(", "src="] {
            assert!(!page.contains(wanting), "{wanting}");
        }
        // No address is a link or a source (the sample's waiver shows one as text).
        assert!(!page.contains("href=\"http"));
    }

    #[test]
    fn foreign_text_is_escaped() {
        let mut report = sample::report();
        report.cases[0].findings[0].message = "</article><script>alert(1)</script>".into();
        report.cases[0].id = "\"><b>x".into();
        report.run.suite = "</title><i>".into();
        let page = render(&report, &Extras::default());
        for raw in ["<script>", "<b>x", "<i>"] {
            assert!(!page.contains(raw), "{raw}");
        }
    }

    #[test]
    fn the_bar_is_drawn_on_the_total() {
        let page = page();
        let counts = sample::report().counts;
        let drawn: u64 = page
            .split("style=\"flex:")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(drawn, counts.required);
    }

    #[test]
    fn ten_thousand_cases_stay_a_page() {
        let mut report = sample::report();
        let passed = report.cases[1].clone();
        report.cases = (0..10_000).map(|n| Case { id: format!("s/{n}"), ..passed.clone() }).collect();
        assert!(render(&report, &Extras::default()).len() < 4 << 20);
    }
}
