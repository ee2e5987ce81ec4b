# SPDX-License-Identifier: Apache-2.0
# Questions whose answer turns: right without rounding and wrong with it, and the reverse.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/sensitivity_flips.gp
if (!exists("out")) out = 'sensitivity_flips.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/domains_points.csv'
set terminal svg size 900,520 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
set datafile missing NaN
w(z) = strcol(1) eq 'model' && strcol(3) eq 'weights' && strcol(9) eq 'all'
set title 'Multiple choice, all matrices rounded (miniature)'
set xlabel 'bits a weight, scales included'
set ylabel 'questions'
set grid ytics lc rgb '#dddddd'
set key top right
plot table using (w(0) ? $7 : NaN):33 with points pt 7 lc rgb '#b02a37' title 'lost', \
     '' using (w(0) ? $7 : NaN):34 with points pt 6 lc rgb '#1b6ca8' title 'won'
