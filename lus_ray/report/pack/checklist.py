"""The items of TRIPOD+AI in own words, and what an answer to one is.

Source: Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting
clinical prediction models that use regression or machine learning methods. BMJ 2024;385:e078378,
published under CC BY 4.0. 27 items with 52 parts.
"""

from dataclasses import dataclass

SOURCE = (
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement. BMJ 2024;385:e078378, "
    "doi 10.1136/bmj-2023-078378 (CC BY 4.0). The items are given here in our own words; "
    "the published list decides."
)
FILLED, PARTLY, OPEN = "filled from the run", "partly", "open"
STATUSES = (FILLED, PARTLY, OPEN)


@dataclass(frozen=True)
class Item:
    """A part of an item.

    `phase` is "D" where it is about developing a model, "E" about evaluating one, else "D;E".
    `asks` is what it wants to know, `write` what the authors have to add.
    """

    number: str
    section: str
    topic: str
    phase: str
    asks: str
    write: str


@dataclass(frozen=True)
class Answer:
    """What the run records of an item, in sentences, and what only the authors can add.

    `missing` is None where the item's own `write` says it, and empty where nothing is missing.
    """

    found: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def status(self) -> str:
        if not self.found:
            return OPEN
        return FILLED if self.missing == "" else PARTLY


def filled(*found: str) -> Answer:
    return Answer(tuple(filter(None, found)), "")


def partly(*found: str, missing: str | None = None) -> Answer:
    return Answer(tuple(filter(None, found)), missing)


TITLE, ABSTRACT, INTRODUCTION = "Title", "Abstract", "Introduction"
METHODS, SCIENCE, PUBLIC = "Methods", "Open science", "Patient and public involvement"
RESULTS, DISCUSSION = "Results", "Discussion"

ITEMS = (
    Item("1", TITLE, "Title", "D;E",
         "Does the title say that a prediction model is developed or evaluated, for whom, and "
         "what it predicts?",
         "Name the population in the title."),
    Item("2", ABSTRACT, "Abstract", "D;E",
         "Does the abstract hold what the separate list for abstracts (TRIPOD+AI for Abstracts) "
         "asks for?",
         "Write the abstract by the list for abstracts."),
    Item("3a", INTRODUCTION, "Background", "D;E",
         "What is the medical question, is it about diagnosis or prognosis, why is a model needed, "
         "and which models exist?",
         "Describe the medical question, why a model is needed, and the models that exist."),
    Item("3b", INTRODUCTION, "Background", "D;E",
         "For which patients is the model meant, where in their care, and who would use it?",
         "Say for which patients, where in their care and for which users the model is meant."),
    Item("3c", INTRODUCTION, "Background", "D;E",
         "Which inequalities of health between groups of people are known?",
         "Describe what is known about unequal health or care between groups of these patients."),
    Item("4", INTRODUCTION, "Objectives", "D;E",
         "What are the aims, and is a model developed, evaluated, or both?",
         "State the aims of your study in one or two sentences."),
    Item("5a", METHODS, "Data", "D;E",
         "Where do the data for development and for evaluation come from, why these, and whom do "
         "they represent?",
         "Say how each source was collected, why you use it, and whom its patients represent."),
    Item("5b", METHODS, "Data", "D;E",
         "From when to when were the participants included?",
         "Give the first and the last day on which patients were included."),
    Item("6a", METHODS, "Participants", "D;E",
         "In which kind of care, in how many centres, and where did the study take place?",
         "Name the kind of care, and the number and places of the centres."),
    Item("6b", METHODS, "Participants", "D;E",
         "Who could take part?",
         "Give the criteria by which patients were included in the sources and excluded."),
    Item("6c", METHODS, "Participants", "D;E",
         "Which treatments did the participants receive, and how does the analysis treat them?",
         "Describe treatments before the scan, or say that they do not matter here."),
    Item("7", METHODS, "Data preparation", "D;E",
         "How were the data prepared and checked, and was this alike for all groups of people?",
         "Describe what was done to the files before the ingest, and whether it was alike for all "
         "groups of patients."),
    Item("8a", METHODS, "Outcome", "D;E",
         "What exactly is predicted, for when, how and when was it determined, why this outcome, "
         "and was it determined alike for all groups of people?",
         "Say who determined the outcome, when and how, why you chose it, and whether it was alike "
         "for all groups of patients."),
    Item("8b", METHODS, "Outcome", "D;E",
         "If people judged the outcome: who were they, and what is their training?",
         "Describe the people who labelled the clips: profession, experience, demographics."),
    Item("8c", METHODS, "Outcome", "D;E",
         "What kept those who judged the outcome from knowing other data?",
         "Say what those who labelled the clips knew of the patient and of the predictions."),
    Item("9a", METHODS, "Predictors", "D",
         "How were the first candidates for predictors chosen and reduced before modelling?",
         "Say why these inputs were chosen."),
    Item("9b", METHODS, "Predictors", "D;E",
         "What is each predictor, how and when was it measured, and without knowledge of what?",
         "Describe how and when the clips were recorded, and what the person at the probe knew."),
    Item("9c", METHODS, "Predictors", "D;E",
         "If people judged a predictor: who were they, and what is their training?",
         "Describe who recorded the clips: profession, experience, demographics."),
    Item("10", METHODS, "Sample size", "D;E",
         "How was the size of the study found, for development and for evaluation, and is it "
         "sufficient?",
         "Say how the number of patients was found, and why it is sufficient; give the calculation "
         "if there was one."),
    Item("11", METHODS, "Missing data", "D;E",
         "How were missing data handled, and why were data left out?",
         "Say why labels are missing, and which patients were lost before the ingest."),
    Item("12a", METHODS, "Analysis", "D",
         "How were the data used, and how were they split?",
         "Say whether a required number of patients guided the split."),
    Item("12b", METHODS, "Analysis", "D",
         "How were predictors transformed, rescaled or standardised?",
         "Describe the transformations of the inputs."),
    Item("12c", METHODS, "Analysis", "D",
         "Which type of model, why, by which steps was it built and tuned, and how was it "
         "validated internally?",
         "Say why you chose this type of model."),
    Item("12d", METHODS, "Analysis", "D;E",
         "How were differences between clusters, such as hospitals, handled and measured?",
         "Say how differences between hospitals were handled, or that there is one hospital."),
    Item("12e", METHODS, "Analysis", "D;E",
         "Which measures and plots describe performance, why these, and how are models compared?",
         "Say why you chose these measures."),
    Item("12f", METHODS, "Analysis", "E",
         "Was a model updated after the evaluation, for example recalibrated, and for whom?",
         "Describe every update of a model that was made outside of this run."),
    Item("12g", METHODS, "Analysis", "E",
         "How were predictions computed in the evaluation?",
         "Describe how predictions were computed."),
    Item("13", METHODS, "Class imbalance", "D;E",
         "If methods against class imbalance were used: why, how, and was the model recalibrated?",
         "Say why you balanced the classes, and what that does to the probabilities."),
    Item("14", METHODS, "Fairness", "D;E",
         "What was done for the fairness of the model, and why?",
         "Describe what you did, in the choice of data and outside of this run, for a model that "
         "works alike for all groups; or say that nothing was done."),
    Item("15", METHODS, "Model output", "D",
         "What does the model give out, and how were classes and thresholds derived from it?",
         "Give the reason for the classes, and for any threshold that you use."),
    Item("16", METHODS, "Development and evaluation", "D;E",
         "How do the data for development and for evaluation differ in setting, eligibility, "
         "outcome and predictors?",
         "Compare the settings and the criteria of both."),
    Item("17", METHODS, "Ethical approval", "D;E",
         "Which committee approved the study, and did participants consent?",
         "Name the ethics committee with its reference, and how patients consented or why consent "
         "was waived."),
    Item("18a", SCIENCE, "Funding", "D;E",
         "Who paid for the study, and what was their role?",
         "Name the funders and their role."),
    Item("18b", SCIENCE, "Conflicts of interest", "D;E",
         "Which conflicts of interest do the authors have?",
         "Declare the interests of every author."),
    Item("18c", SCIENCE, "Protocol", "D;E",
         "Where is the protocol, or was there none?",
         "Say where a protocol written before the study is, or that there was none."),
    Item("18d", SCIENCE, "Registration", "D;E",
         "In which register is the study, with which number, or is it not registered?",
         "Give register and number, or say that the study is not registered."),
    Item("18e", SCIENCE, "Data sharing", "D;E",
         "Who can get the data, and how?",
         "Say where, and under which conditions, the data of each source can be had."),
    Item("18f", SCIENCE, "Code sharing", "D;E",
         "Who can get the code, and how?",
         "Give the address of the code that you used, with all changes of yours."),
    Item("19", PUBLIC, "Involvement", "D;E",
         "Were patients or the public involved in the study, and how?",
         "Describe how patients or the public took part, or say that they did not."),
    Item("20a", RESULTS, "Participants", "D;E",
         "How did participants flow through the study, and how many had the outcome?",
         "Add the patients who were asked, excluded or lost before the ingest."),
    Item("20b", RESULTS, "Participants", "D;E",
         "What are the characteristics of the participants, overall and by source: dates, "
         "predictors, demographics, treatments, numbers, outcomes and missing data?",
         "Add the characteristics that the data lack: dates, treatments, demographics."),
    Item("20c", RESULTS, "Participants", "E",
         "How do important predictors and outcomes of the evaluation compare with those of the "
         "development?",
         "Compare demographics and predictors of both sets of patients."),
    Item("21", RESULTS, "Model development", "D;E",
         "How many participants and outcomes went into each analysis?",
         "Give the numbers of the analyses that are not finished here."),
    Item("22", RESULTS, "Model specification", "D",
         "What does another person need to compute the prediction for a new patient, and may they?",
         "Say where the weights can be had, and under which licence."),
    Item("23a", RESULTS, "Model performance", "D;E",
         "How good is the model, with confidence intervals, also for key groups of people?",
         "Report performance for groups such as sex and age."),
    Item("23b", RESULTS, "Model performance", "D;E",
         "If it was examined: how does performance differ between clusters, such as hospitals?",
         "Report performance by hospital if you examined it."),
    Item("24", RESULTS, "Model updating", "E",
         "If a model was updated: what is the new model, and how good is it?",
         "Report every update of a model that was made outside of this run."),
    Item("25", DISCUSSION, "Interpretation", "D;E",
         "What do the results mean, also for fairness, next to the aims and to earlier studies?",
         "Interpret the results next to your aims, to fairness and to earlier studies."),
    Item("26", DISCUSSION, "Limitations", "D;E",
         "What limits the study, and what does that do to bias, uncertainty and generalisation?",
         "Discuss what these limits do to your conclusions, and add those of your data."),
    Item("27a", DISCUSSION, "Usability", "D",
         "How should poor or missing input be recognised and handled in use?",
         "Say what a user should do with clips of poor quality."),
    Item("27b", DISCUSSION, "Usability", "D",
         "Do users have to handle the input or the model, and what must they be able to do?",
         "Say who could use the model, and which training they need."),
    Item("27c", DISCUSSION, "Usability", "D;E",
         "What should be studied next, above all for use elsewhere?",
         "Describe the next steps, above all the evaluation in other hospitals."),
)  # fmt: skip
