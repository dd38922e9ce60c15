//! JUnit XML: one test for each case, and one for each requirement that no case speaks for.
//!
//! A skip is a skip: `not run`, `not applicable` and `waived` become `<skipped>` with their reason, `unknown` becomes an
//! error (it is the bench that owes an answer), only `passed` is a success.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::model::{Case, Ending, Finding, Report, Requirement, Verdict};

/// The document as text.
///
/// # Errors
/// Only if the XML writer fails, which it does not in memory.
pub fn render(report: &Report) -> Result<String, SerializeError> {
    let mut document = Document::new(format!("sanbench {}", report.run.suite));
    let mut cases = TestSuite::new("cases");
    cases.set_time(Duration::from_micros(report.cases.iter().map(|case| case.duration_us).sum()));
    cases.add_property(("seed", report.run.seed.to_string().as_str()));
    cases.add_property(("env", report.run.env.as_str()));
    cases.add_property(("version", report.run.version.as_str()));
    cases.add_property(("verdict", report.verdict_words().as_str()));
    cases.add_test_cases(report.cases.iter().map(case_test));
    document.add_test_suite(cases);

    let mut requirements = TestSuite::new("requirements");
    requirements.add_test_cases(report.requirements.iter().map(requirement_test));
    document.add_test_suite(requirements);

    if let Some(test) = ending_test(&report.ending) {
        let mut bench = TestSuite::new("bench");
        bench.add_test_case(test);
        document.add_test_suite(bench);
    }
    document.to_string()
}

fn status(verdict: Verdict, reason: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Waived | Verdict::NotApplicable | Verdict::NotRun => TestCaseStatus::skipped(),
    };
    let message = match reason {
        "" => verdict.label().to_owned(),
        reason => format!("{}: {reason}", verdict.label()),
    };
    status.set_message(message);
    status
}

fn case_test(case: &Case) -> TestCase {
    let mut status = status(case.verdict, &case.reason);
    if let Some(first) = case.findings.first() {
        status.set_type(first.requirement.as_str());
        let text: Vec<String> = case.findings.iter().map(finding_text).collect();
        status.set_description(text.join("\n\n"));
    }
    let mut test = TestCase::new(case.id.as_str(), status);
    test.set_classname(case.story.as_str());
    test.set_time(Duration::from_micros(case.duration_us));
    test.add_property(("seed", case.seed.to_string().as_str()));
    if !case.requirements.is_empty() {
        test.add_property(("requirements", case.requirements.join(" ").as_str()));
    }
    test
}

fn finding_text(finding: &Finding) -> String {
    let step = finding.step.map_or(String::new(), |step| format!(", step {step}"));
    format!(
        "{} [{}{step}] {}\nexpected: {}\nobserved: {}\nreplay:   {}",
        finding.requirement,
        finding.checker,
        finding.message,
        finding.expected,
        finding.observed,
        finding.replay
    )
}

fn requirement_test(entry: &Requirement) -> TestCase {
    // An advisory failure must not make a conformant run red; it is told as a skip with its reason.
    let advisory = entry.verdict == Verdict::Failed && !entry.required;
    let status = if advisory {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("advisory ({}), failed: {}", entry.level.word(), entry.reason));
        status
    } else {
        status(entry.verdict, &entry.reason)
    };
    let mut test = TestCase::new(entry.id.as_str(), status);
    test.set_classname(crate::group::title(&entry.id));
    test
}

fn ending_test(ending: &Ending) -> Option<TestCase> {
    let message = match ending {
        Ending::Finished => return None,
        Ending::Interrupted => "interrupted, clean-up done",
        Ending::Unreachable(message) | Ending::BenchError(message) => message,
    };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(message);
    Some(TestCase::new("ending", status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_document() {
        insta::assert_snapshot!(render(&sample::report()).unwrap());
    }

    #[test]
    fn a_run_of_skips_has_no_success() {
        let mut report = sample::report();
        report.cases.retain(|case| case.verdict == Verdict::NotRun);
        report.requirements.retain(|entry| entry.verdict != Verdict::Passed);
        let text = render(&report).unwrap();
        let tests = text.matches("<testcase ").count();
        let unsuccessful = text.matches("<skipped").count()
            + text.matches("<failure").count()
            + text.matches("<error").count();
        assert_eq!(tests, unsuccessful, "{text}");
    }

    #[test]
    fn control_characters_do_not_break_the_document() {
        let mut report = sample::report();
        report.cases[0].reason = "bell \u{7} and \u{1b}[31mred\u{1b}[0m & <tag> ]]>".into();
        let text = render(&report).unwrap();
        assert!(!text.contains('\u{7}') && !text.contains('\u{1b}'), "{text}");
    }
}
