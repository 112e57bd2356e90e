# Makes statistics_r.json: what R says of the cohorts in statistics_data/. Run in this folder: Rscript statistics.R
# Debian 12: r-base-core r-cran-lmertest r-cran-lme4 r-cran-nlme r-cran-car r-cran-sandwich r-cran-lmtest r-cran-effectsize
#            r-bioc-sva r-cran-jsonlite
suppressMessages({
  library(lmerTest)
  library(sandwich)
  library(lmtest)
  library(car)
  library(effectsize)
  library(sva)
  library(jsonlite)
})

cross <- read.csv("statistics_data/cross.csv", colClasses = c(participant = "character"))
visits <- read.csv("statistics_data/visits.csv", colClasses = c(participant = "character", session = "character"))
targets <- paste0("t", 0:4)

# Names of terms as patsy has them.
named <- function(terms) {
  names <- c("(Intercept)" = "Intercept", grouppatient = "group[T.patient]", sexM = "sex[T.M]")
  ifelse(terms %in% names(names), names[terms], terms)
}

# Noncentralities of t and F at the ends of a 95 % interval, by root finding.
t_interval <- function(t, df) {
  # its precision is told to be less than full at the far ends of the range only
  root <- function(p) {
    suppressWarnings(uniroot(function(nc) pt(t, df, nc) - p, c(t - 12 - 2 * abs(t), t + 12 + 2 * abs(t)), tol = 1e-13)$root)
  }
  c(root(0.975), root(0.025))
}
f_interval <- function(f, df) {
  root <- function(p) {
    if (pf(f, 1, df) <= p) return(0)
    uniroot(function(nc) pf(f, 1, df, nc) - p, c(0, 10 * f + 50), tol = 1e-13)$root
  }
  c(root(0.975), root(0.025))
}

effects <- function(term, estimate, se, sd, df) {
  if (term == "Intercept") return(list(effect_size = NA, effect_ci_low = NA, effect_ci_high = NA))
  t <- estimate / se
  if (grepl("[", term, fixed = TRUE)) {
    j <- 1 - 3 / (4 * df - 1)
    ends <- j * t_interval(t, df) * se / sd
    return(list(effect_size = j * estimate / sd, effect_ci_low = ends[1], effect_ci_high = ends[2]))
  }
  ends <- f_interval(t^2, df)
  list(effect_size = t^2 / (t^2 + df), effect_ci_low = ends[1] / (ends[1] + df + 2),
       effect_ci_high = ends[2] / (ends[2] + df + 2))
}

# Terms of a linear model; lost: parameters estimated before, which cost degrees of freedom; site: of harmonised values.
linear <- function(formula, data, robust = FALSE, lost = 0, site = FALSE) {
  fit <- lm(formula, data)
  df <- df.residual(fit) - lost
  sd <- sqrt(sum(resid(fit)^2) / df)
  unscaled <- diag(summary(fit)$cov.unscaled)
  if (site) { # as precise as if the site were in the model, but for the intercept
    with_site <- diag(summary(update(fit, . ~ . + site))$cov.unscaled)
    unscaled[-1] <- with_site[names(unscaled)[-1]]
  }
  classical <- sqrt(unscaled) * sd
  se <- if (robust) sqrt(diag(vcovHC(fit, type = "HC3"))) else classical
  t <- coef(fit) / se
  lapply(seq_along(t), function(i) {
    term <- unname(named(names(t)[i]))
    c(list(term = term, estimate = coef(fit)[[i]], std_error = se[[i]], statistic = t[[i]], df = df,
           p = 2 * pt(-abs(t[[i]]), df), ci_low = coef(fit)[[i]] - qt(0.975, df) * se[[i]],
           ci_high = coef(fit)[[i]] + qt(0.975, df) * se[[i]]),
      effects(term, coef(fit)[[i]], classical[[i]], sd, df))
  })
}

mixed <- function(formula, data) {
  strict <- lmerControl(optimizer = "nloptwrap",
                        optCtrl = list(xtol_abs = 1e-15, xtol_rel = 1e-15, ftol_abs = 1e-15, ftol_rel = 1e-15, maxeval = 1e5))
  fit <- suppressMessages(lmer(formula, data, REML = TRUE, control = strict))
  found <- coef(summary(fit, ddf = "Satterthwaite"))
  spread <- as.data.frame(VarCorr(fit))$vcov
  terms <- lapply(seq_len(nrow(found)), function(i) {
    term <- unname(named(rownames(found)[i]))
    se <- found[i, "Std. Error"]
    df <- found[i, "df"]
    c(list(term = term, estimate = found[i, "Estimate"], std_error = se, statistic = found[i, "t value"],
           df = df, p = found[i, "Pr(>|t|)"], ci_low = found[i, "Estimate"] - qt(0.975, df) * se,
           ci_high = found[i, "Estimate"] + qt(0.975, df) * se),
      effects(term, found[i, "Estimate"], se, sqrt(sum(spread)), df))
  })
  list(terms = terms, between = spread[1], within = spread[2])
}

per_target <- function(data, names, fun) setNames(lapply(names, function(t) fun(data[!is.na(data[[t]]), ], t)), names)
model <- function(target, right) as.formula(paste(target, "~", right))
full <- "group + age + sex"

golden <- list()
golden$ols <- per_target(cross, targets, function(d, t) linear(model(t, full), d))
golden$hc3 <- per_target(cross, targets, function(d, t) linear(model(t, full), d, robust = TRUE))
golden$covariate <- per_target(cross, targets, function(d, t) linear(model(t, paste(full, "+ icv")), d))
golden$proportion <- per_target(cross, targets, function(d, t) {
  d$y <- d[[t]] / d$icv
  linear(model("y", full), d)
})
golden$residual <- per_target(cross, targets, function(d, t) {
  d$y <- d[[t]] - coef(lm(model(t, "icv"), d))[["icv"]] * (d$icv - mean(d$icv))
  linear(model("y", full), d, lost = 1)
})
golden$mixed <- per_target(visits, paste0("t", 0:3), function(d, t) mixed(model(t, "group + years + age + (1 | participant)"), d))

# Corrected p values: over one term, and over all terms but the intercept.
p_of <- function(models, term) sapply(models, function(m) Filter(function(x) x$term == term, m)[[1]]$p)
tested <- c("group[T.patient]", "sex[T.M]", "age")
golden$adjusted <- list(
  term = lapply(setNames(tested, tested), function(term) {
    p <- p_of(golden$ols, term)
    list(fdr = as.list(p.adjust(p, "BH")), bonferroni = as.list(p.adjust(p, "bonferroni")))
  }),
  statistic = local({
    p <- unlist(lapply(tested, function(term) setNames(p_of(golden$ols, term), paste(targets, term))))
    list(fdr = as.list(p.adjust(p, "BH")), bonferroni = as.list(p.adjust(p, "bonferroni")))
  })
)

# The usual Hedges' g of two groups. effectsize has the exact factor where we have Hedges' approximation, so: Cohen's d.
d <- cohens_d(t0 ~ factor(group, levels = c("patient", "control")), data = cross, ci = 0.95)
golden$cohens_d <- list(d = d$Cohens_d, low = d$CI_low, high = d$CI_high)

# Ends of intervals over a range of t, its sign and few to many degrees of freedom.
grid <- expand.grid(t = c(-12, -3, -0.5, 0, 1e-9, 0.5, 2.2, 8), df = c(1, 3.7, 20, 97, 9990))
golden$noncentral <- lapply(seq_len(nrow(grid)), function(i) {
  f <- f_interval(grid$t[i]^2, grid$df[i])
  t <- t_interval(grid$t[i], grid$df[i])
  list(t = grid$t[i], df = grid$df[i], t_low = t[1], t_high = t[2], f_low = f[1], f_high = f[2])
})

# Checks of assumptions, and centiles by leaving one out, on t0.
fit <- lm(model("t0", full), cross)
golden$checks <- list(
  vif = list("group[T.patient]" = vif(fit)[["group"]], age = vif(fit)[["age"]], "sex[T.M]" = vif(fit)[["sex"]]),
  leverage = unname(hatvalues(fit)), cooks_distance = unname(cooks.distance(fit)),
  breusch_pagan = bptest(fit)$p.value[[1]], shapiro = shapiro.test(resid(fit))$p.value
)
predicted <- function(data, new) {
  norm <- predict(lm(t0 ~ age, data), new, se.fit = TRUE)
  t <- (new$t0 - norm$fit) / sqrt(norm$se.fit^2 + norm$residual.scale^2)
  c(expected = unname(norm$fit), centile = 100 * pt(unname(t), norm$df))
}
controls <- cross[cross$group == "control", ]
golden$centiles <- lapply(setNames(seq_len(nrow(cross)), cross$participant), function(i) {
  as.list(predicted(controls[controls$participant != cross$participant[i], ], cross[i, ]))
})

# ComBat with the columns of the model kept; then the model.
complete <- t(as.matrix(cross[, targets]))
kept <- model.matrix(~ group + age + sex, cross)
whole <- complete[c("t0", "t1", "t2", "t4"), ]
harmonised <- suppressMessages(ComBat(whole, cross$site, kept, par.prior = TRUE))
golden$combat <- lapply(setNames(rownames(whole), rownames(whole)), function(t) unname(harmonised[t, ]))
golden$after_combat <- lapply(setNames(rownames(whole), rownames(whole)), function(t) {
  linear(model("y", full), cbind(cross, y = harmonised[t, ]), lost = 2, site = TRUE)
})

packages <- c("lme4", "lmerTest", "sandwich", "lmtest", "car", "effectsize", "sva")
golden$made_with <- c(list(R = R.version.string), lapply(setNames(packages, packages), function(p) as.character(packageVersion(p))))
write(toJSON(golden, digits = 15, auto_unbox = TRUE, pretty = TRUE, na = "null"), "statistics_r.json")
